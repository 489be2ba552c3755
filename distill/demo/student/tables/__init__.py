"""The word tables of the synthetic world, one text file each; a row a line, cells between ` | `.

workplaces  name | employer | things, with synonyms behind `=`
deeds       tool name stems | requests | hints that do not name the deed | reports | purpose
opposites   first stem of a deed | first stem of the deed that undoes it
readings    stem | unit | low | high | questions | answers | purpose
facts       stem | questions | answers | purpose | kind of answer
kinds       kind | parameter names | descriptions | inside a request | alone | questions back
choices     parameter names | description | value=ways to say it
flags       parameter name | description | said when true | said when false

`;` separates alternatives in a cell. `{n}` is the thing with its article, `{N}` the same at the
start of a sentence, `{v}` a value, `{V}` a value at the start.
"""

from __future__ import annotations

from pathlib import Path


def rows(name: str) -> list[list[str]]:
    """Read a table as stripped cells."""
    text = Path(__file__).with_name(f"{name}.txt").read_text(encoding="utf-8")
    return [[cell.strip() for cell in line.split(" | ")] for line in text.splitlines()]


def split(cell: str) -> tuple[str, ...]:
    """Split one cell at its semicolons."""
    return tuple(part.strip() for part in cell.split(";"))
