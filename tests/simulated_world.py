"""A library whose tools nothing implements."""

from __future__ import annotations

import json
from pathlib import Path

TOOLS = [
    {
        "name": "get_book",
        "description": "Read what the library knows of a book.",
        "parameters": {
            "type": "object",
            "properties": {"isbn": {"type": "string"}, "full": {"type": "boolean"}},
            "required": ["isbn"],
        },
    },
    {
        "name": "lend_book",
        "description": "Lend a book to a reader.",
        "parameters": {
            "type": "object",
            "properties": {"isbn": {"type": "string"}},
            "required": ["isbn"],
        },
    },
]
MANIFEST = """
notes: A small library in Leeds.
outputs:
  get_book:
    type: object
    properties: {title: {type: string}, free: {type: boolean}}
    required: [title]
  lend_book:
    type: object
    properties: {due: {type: string, format: date}}
    required: [due]
changes: [lend_book]
"""
RECORDED = {"name": "get_book", "arguments": {"isbn": "1"}, "content": '{"title": "Emma"}'}


def write_library(folder: Path, manifest: str = MANIFEST) -> Path:
    """Write the tool set; return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "toolset.yaml").write_text(
        "name: library\ndescription: A library.\nsource: simulated.yaml\ntasks: tasks.jsonl\n"
    )
    (folder / "tools.json").write_text(json.dumps({"tools": TOOLS}))
    (folder / "simulated.yaml").write_text(manifest)
    (folder / "recorded.jsonl").write_text(json.dumps(RECORDED) + "\n")
    return folder
