"""The student's tokenizer: byte-level BPE trained on synthetic dialogues, digits one by one.

A ten-tool prompt is mostly JSON Schema boilerplate, so common runs of it (`"}, "required": ["`) are
tokens of their own: a prompt takes about half the tokens it would otherwise. Splitting and
normalising are those of `Qwen2Tokenizer`, which is what loaders take for this architecture whatever
the files say. The chat template lies next to this module as `chat_template.jinja`
and is stored in the checkpoint; vLLM's tool parser for it is `hermes`.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer

from . import lexicon, wording

TEMPLATE = Path(__file__).with_name("chat_template.jinja")
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MARKUP = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
VOCABULARY = 5120

BOILERPLATE = (
    '{"type": "function", "function": {"name": "',
    '", "description": "',
    '", "parameters": {"type": "object", "properties": {"',
    '", "parameters": {"type": "object", "properties": {}, "required": []',
    ', "required": [',
    '"}, "required": ["',
    '"}}, "required": ["',
    '}}, "required": ["',
    '"], "additionalProperties": false}}}\n',
    ', "additionalProperties": false}}}\n',
    '": {"type": "object", "properties": {"',
    '": {"type": "string", "description": "',
    '": {"type": "string", "enum": ["',
    '": {"type": "string", "format": "',
    '": {"type": "string"}, "',
    '": {"type": "integer", "description": "',
    '": {"type": "integer", "maximum": ',
    '": {"type": "integer", "minimum": ',
    '": {"type": "integer"}, "',
    '": {"type": "number", "description": "',
    '": {"type": "number", "maximum": ',
    '": {"type": "number", "minimum": ',
    '": {"type": "boolean", "description": "',
    '": {"type": "array", "items": {"type": "string"}, "description": "',
    '": {"type": "array", "items": {"type": "string", "enum": ["',
    '": {"type": "array", "items": {"type": "object", "properties": {"',
    '"]}, "uniqueItems": true',
    '"], "description": "',
    ', "description": "',
    ', "minimum": ',
    ', "maximum": ',
    ', "default": ',
    '", "default": ',
    '"}, "',
    '"}, {"',
    '}, "',
    '", "',
    '": "',
    '": {"',
    '": ["',
    '": [{"',
    '"], "',
    '": ',
    ', "',
    '\n{"name": "',
    '", "arguments": {"',
    '", "arguments": {}}\n',
    '"}}\n',
    '"]}}\n',
    "}}\n",
    '{"error": "',
    '{"',
    '"}',
)
"""Runs of JSON Schema that are one token each, wherever they stand."""


def train_tokenizer(texts: Iterable[str], size: int = VOCABULARY) -> Qwen2Tokenizer:
    """Train the tokenizer on rendered dialogues.

    Args:
        texts: Dialogues as the chat template renders them.
        size: Entries of the vocabulary, special tokens included.
    """
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(MARKUP) - len(BOILERPLATE),
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # The class fixes normaliser, splitter and decoder; only its vocabulary is ours.
    untrained = Qwen2Tokenizer(vocab={}, merges=[]).backend_tokenizer
    raw = Tokenizer(models.BPE())
    raw.normalizer, raw.pre_tokenizer = untrained.normalizer, untrained.pre_tokenizer
    raw.train_from_iterator(_prose(texts), trainer)
    model = json.loads(raw.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=model["vocab"],
        merges=[tuple(merge) for merge in model["merges"]],  # type: ignore[misc]
        unk_token=None,  # type: ignore[arg-type]
        bos_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=TEMPLATE.read_text(encoding="utf-8"),
        model_max_length=4096,
    )
    added = [AddedToken(text, normalized=False, special=False) for text in MARKUP + BOILERPLATE]
    tokenizer.add_tokens(added)
    return tokenizer


def _prose(texts: Iterable[str]) -> Iterable[str]:
    """Yield what is left between added tokens, and the words of the tables."""
    added = sorted((*SPECIAL, *MARKUP, *BOILERPLATE), key=len, reverse=True)
    marks = re.compile("|".join(re.escape(mark) for mark in added))
    for text in texts:
        yield from (part for part in marks.split(text) if part)
    for table in (lexicon.EVERYDAY, lexicon.ADJECTIVES, lexicon.FIRST_NAMES, lexicon.PLACE_KINDS):
        yield from (f" {word}" for word in lexicon.words(table) * 20)


def render(dialogue: dict[str, Any]) -> str:
    """Render a dialogue by the chat template, the way servers do."""
    return str(_template().render(**dialogue))


@functools.cache
def _template() -> Any:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = wording.json_text
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
