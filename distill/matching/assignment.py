"""Maximum bipartite matching: which made call stands for which expected one.

Order-free sets cannot be compared first come, first served: a call that fits two expectations may
take the only one its neighbour fits. Kuhn's algorithm grows a matching along augmenting paths; a
row matched once stays matched, so with the rows that *must* be matched first, the result covers
all of them and all columns whenever some matching does (Mendelsohn and Dulmage, 1958). Sets here
have a handful of members; nothing cleverer is needed.
"""

from __future__ import annotations

from collections.abc import Sequence


def assign(edges: Sequence[Sequence[int]]) -> list[int | None]:
    """Match as many rows as possible, each to a column of its own.

    Args:
        edges: For each row, the columns it may take; earlier rows are matched in preference.

    Returns:
        For each row its column, or None.
    """
    owner: dict[int, int] = {}
    for row in range(len(edges)):
        _augment(row, edges, owner, set())
    columns: list[int | None] = [None] * len(edges)
    for column, row in owner.items():
        columns[row] = column
    return columns


def _augment(
    row: int, edges: Sequence[Sequence[int]], owner: dict[int, int], seen: set[int]
) -> bool:
    """Give `row` a column, moving the present owners to other columns where needed."""
    for column in edges[row]:
        if column in seen:
            continue
        seen.add(column)
        if column not in owner or _augment(owner[column], edges, owner, seen):
            owner[column] = row
            return True
    return False
