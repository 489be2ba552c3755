"""The four families' own vocabularies and templates, from packages: no hub, no network.

            vocabulary                                  template
Qwen2.5     dashscope, resources/qwen.tiktoken          trl
Qwen3       the same, with the tokens Qwen3 added       trl
Llama-3.1   llama-models, llama3/tokenizer.model        trl
Mistral     mistral-common, Mistral-7B-v0.3's           mistral-common's generator
"""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import dashscope
import mistral_common
from llama_models.llama3 import tokenizer as llama3
from mistral_common.integrations.chat_templates.chat_templates import (
    convert_tokenizer_to_chat_template,
)
from tokenizers import AddedToken
from train_world import trl_template
from transformers import LlamaTokenizer, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import TikTokenConverter

MISTRAL_V3 = Path(mistral_common.__file__).parent / (
    "data/mistral_instruct_tokenizer_240323.model.v3"
)

_QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN25_ADDED = (
    "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>",
    "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>",
)  # fmt: skip
_QWEN3_ADDED = ("<tool_response>", "</tool_response>", "<think>", "</think>")


@cache
def qwen25() -> Any:
    """Return Qwen2.5's tokenizer."""
    return _qwen(_QWEN25_ADDED, "qwen2_5")


@cache
def qwen3() -> Any:
    """Return Qwen3's tokenizer."""
    return _qwen((*_QWEN25_ADDED, *_QWEN3_ADDED), "qwen3")


@cache
def llama31() -> Any:
    """Return Llama-3.1's tokenizer."""
    path = Path(llama3.__file__).parent / "tokenizer.model"
    reference = llama3.Tokenizer(path)
    special = sorted(reference.special_tokens, key=reference.special_tokens.__getitem__)
    converter = TikTokenConverter(str(path), reference.pat_str, extra_special_tokens=special)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=converter.converted(),
        bos_token="<|begin_of_text|>",
        eos_token="<|eot_id|>",
    )
    tokenizer.chat_template = trl_template("llama3_1")
    return tokenizer


@cache
def mistral() -> Any:
    """Return the tokenizer of Mistral-7B-Instruct-v0.3."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(MISTRAL_V3, Path(folder) / "tokenizer.model")
        tokenizer: Any = LlamaTokenizer.from_pretrained(folder)
    tokenizer.chat_template = convert_tokenizer_to_chat_template(MISTRAL_V3)
    return tokenizer


def _qwen(added: tuple[str, ...], template: str) -> Any:
    vocabulary = Path(dashscope.__file__).parent / "resources/qwen.tiktoken"
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    for thing in ("object_ref", "box", "quad", "vision"):
        special += [f"<|{thing}_start|>", f"<|{thing}_end|>"]
    special += ["<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]
    converter = TikTokenConverter(str(vocabulary), _QWEN_SPLIT, extra_special_tokens=special)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=converter.converted(), eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.add_tokens([AddedToken(mark, normalized=False) for mark in added])
    tokenizer.chat_template = trl_template(template)
    return tokenizer
