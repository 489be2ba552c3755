"""Do the files belong together: an adapter and its base, what was loaded and what is on disk?"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from distill.errors import ServeError
from distill.serve.deployment import Deployment
from distill.student.base import base_folder, folder_hash
from distill.student.manifest import TEMPLATE

ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json", TEMPLATE)


def check_base(target: Deployment) -> None:
    """Raise if the adapters were trained on another base than the one that is served.

    Raises:
        ServeError: They were.
    """
    if target.base_hash is None:
        return
    found = folder_hash(base_folder(target.base, target.revision))
    if found != target.base_hash:
        raise ServeError(
            f"the adapter was trained on another base: {target.base!r} has hash {found}, training "
            f"had {target.base_hash}; put that base back, or train again on this one"
        )


class Loaded:
    """The adapters as they were when vLLM loaded them, compared with what is on disk now."""

    def __init__(self, adapters: Mapping[str, Path]) -> None:
        self._adapters = dict(adapters)
        self._signs = {name: _signature(folder) for name, folder in self._adapters.items()}
        self._hashes = {name: _hash(folder) for name, folder in self._adapters.items()}
        self._stale = dict.fromkeys(self._adapters, False)

    def stale(self) -> dict[str, bool]:
        """Return, by served name, whether the files have other content than what is served."""
        for name, folder in self._adapters.items():
            sign = _signature(folder)
            if sign != self._signs[name]:
                self._stale[name] = _hash(folder) != self._hashes[name]
                self._signs[name] = sign
        return self._stale


def check_unchanged(loaded: Loaded) -> None:
    """Raise if an adapter was written while vLLM loaded it: what it serves is then anybody's guess.

    Raises:
        ServeError: One was.
    """
    changed = [name for name, stale in loaded.stale().items() if stale]
    if changed:
        raise ServeError(
            f"the adapter {changed[0]!r} was written while vLLM loaded it; start again when its "
            "training has ended"
        )


def _signature(folder: Path) -> list[tuple[int, int, int] | None]:
    return [_stat(folder / name) for name in ADAPTER_FILES]


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None  # being replaced, or gone
    return found.st_mtime_ns, found.st_size, found.st_ino


def _hash(folder: Path) -> str:
    total = hashlib.sha256()
    for name in ADAPTER_FILES:
        try:
            total.update((folder / name).read_bytes())
        except OSError:
            total.update(b"\0")
    return total.hexdigest()
