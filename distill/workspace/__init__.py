"""The workspace that `distill init` writes: a config and a small tool set, to replace by yours.

The files beside this module are copied as they are. They are not imported, and nothing else here
knows about them.
"""

from __future__ import annotations

import shutil
from importlib.resources import as_file, files
from pathlib import Path

from distill.errors import ConfigError

SKIPPED = shutil.ignore_patterns("__pycache__", "__init__.py")


def write_workspace(folder: Path) -> list[Path]:
    """Copy the template into `folder` and return the files written, sorted.

    Raises:
        ConfigError: `folder` is not empty, or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{str(folder)!r} is not an empty folder; name a new one")
    try:
        with as_file(files(__name__)) as template:
            shutil.copytree(template, folder, ignore=SKIPPED, dirs_exist_ok=True)
        (folder / "gitignore").rename(folder / ".gitignore")
    except OSError as error:
        raise ConfigError(f"cannot write workspace {str(folder)!r}: {error.strerror}") from error
    return sorted(path for path in folder.rglob("*") if path.is_file())
