"""Whole runs through the batch endpoints of `llmock`, which answers batches with text alone."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from llmock_world import SECRET, Mock, run, workspace

from distill.config import load_config
from distill.traces import TraceStore
from distill.types import Outcome

PROVIDERS = ("anthropic", "openai_chat")


def batched(
    folder: Path, mock: Mock, provider: str, count: int, turns: int = 3, **collect: Any
) -> Path:
    """A workspace whose tasks take so many user turns, and so as many waves."""
    path = workspace(folder, mock, provider, count, batch=True, **collect)
    tasks = folder / "tools" / "lamps" / "tasks.jsonl"
    rows = [json.loads(line) for line in tasks.read_text().splitlines()]
    for row in rows:
        row["turns"] = [{"content": f"{row['id']}: lamp to {n}"} for n in range(turns)]
    tasks.write_text("\n".join(map(json.dumps, rows)))
    return path


def handed_over(mock: Mock) -> list[Any]:
    """The conversations of all calls in all batches that the server has accepted."""
    records = mock.client.get("/_llmock/requests", params={"limit": 10000}).json()
    return records


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMPS_KEY", SECRET)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_wave_per_turn_at_half_the_price(
    tmp_path: Path, mock: Mock, store_url: str, provider: str
):
    config = load_config(batched(tmp_path, mock, provider, 12, store=store_url))
    status = await run(config)
    assert status.outcomes == {Outcome.COMPLETED: 12}
    print(status, handed_over(mock))
