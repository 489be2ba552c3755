"""The embedded student: a small language model, its tokenizer, and how it was made from nothing.

`MODEL` is the checkpoint folder that ships with the package and that `student.base` of the demo's
config names. `pretrain` and then `tune` make such a folder from synthetic dialogues (`dialogues`,
`disguise`) alone; nothing at run time needs more than the folder.
"""

from __future__ import annotations

from pathlib import Path

MODEL = Path(__file__).parent / "model"
"""The shipped checkpoint: config, weights, tokenizer, chat template, card."""
