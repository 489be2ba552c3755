from __future__ import annotations

from pathlib import Path

import pytest

from distill.errors import StudentError
from distill.student.manifest import Manifest, read_manifest, write_manifest

MANIFEST = Manifest(
    name="bells",
    base="Qwen/Qwen2.5-7B-Instruct",
    base_hash="0" * 16,
    revision="abc",
    family="qwen2.5",
    parser="hermes",
    rank=8,
    toolset_name="bells",
    toolset_hash="1" * 16,
    dataset_hash="2" * 16,
    created_at="2026-01-01T00:00:00+00:00",
    config={"name": "bells"},
    versions={"torch": "2"},
    metrics={"train_loss": 0.5},
)


def test_reads_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    write_manifest(tmp_path / "adapter", MANIFEST)
    assert read_manifest(tmp_path) == MANIFEST


def test_says_what_to_do_without_one(tmp_path: Path) -> None:
    with pytest.raises(StudentError, match=r"no trained student in .* run `distill train CONFIG`"):
        read_manifest(tmp_path)


def test_names_a_damaged_field(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    text = MANIFEST.model_dump_json().replace('"rank":8', '"rank":"many"')
    (tmp_path / "adapter/distill.json").write_text(text)
    with pytest.raises(StudentError, match=r"distill.json: rank: .* train again"):
        read_manifest(tmp_path)
