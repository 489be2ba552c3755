"""The shape of Qwen2.5-7B, for models with random weights."""

from __future__ import annotations

from typing import Any

SIZES_7B: dict[str, Any] = {
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
}
