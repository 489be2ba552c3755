"""The data set folder: complete, or not there.

The files are written aside and moved in at the end, `dataset.json` last; it is removed before the
first is replaced, and without it no other stage reads the folder. So a full disk or a killed
process leaves the old data set or none, never a mixture that passes for one. Files that are not
the data set's own are left alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from distill.dataset import (
    CARD,
    CASES,
    INFO,
    REJECTS,
    TRAIN,
    VALIDATION,
    DatasetInfo,
    dataset_hash,
    example_to_row,
    write_rows,
)
from distill.errors import DatasetError
from distill.filter.content import Content
from distill.types import Json, Task


def write_folder(
    folder: Path, content: Content, info: DatasetInfo, card: Callable[[DatasetInfo], str]
) -> DatasetInfo:
    """Write a data set.

    Args:
        folder: Where; made when it does not exist.
        content: The rows.
        info: Everything about them but the hash.
        card: Writes the card, given the complete info.

    Returns:
        The info, complete with the hash.

    Raises:
        DatasetError: The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder) as name:
            aside = Path(name)
            write_rows(aside / TRAIN, map(example_to_row, content.train))
            write_rows(aside / VALIDATION, map(example_to_row, content.validation))
            write_rows(aside / CASES, map(_case_row, content.cases))
            write_rows(aside / REJECTS, content.rejects)
            info = info.model_copy(update={"hash": dataset_hash(aside)})
            (aside / CARD).write_text(card(info), encoding="utf-8")
            (aside / INFO).write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")
            (folder / INFO).unlink(missing_ok=True)
            for file in (TRAIN, VALIDATION, CASES, REJECTS, CARD, INFO):
                (aside / file).replace(folder / file)
    except OSError as error:
        raise DatasetError(
            f"cannot write the data set to {str(folder)!r}: {error.strerror}; free or change that "
            "place (filter.output) and run again; the traces are safe in their store"
        ) from error
    return info


def _case_row(task: Task) -> dict[str, Json]:
    row: dict[str, Json] = task.model_dump(mode="json", exclude_defaults=True)
    return row
