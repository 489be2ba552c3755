"""A very small base model, tool set and data set for tests of rendering and training."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
import trl
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from distill.config import Config, load_config
from distill.dataset import (
    INFO,
    PAIRS,
    TRAIN,
    VALIDATION,
    DatasetInfo,
    Pair,
    dataset_hash,
    example_to_row,
    pair_to_row,
    write_rows,
)
from distill.toolsets import load_toolset
from distill.types import AssistantMessage, Example, SystemMessage, ToolCall, ToolMessage
from distill.types import UserMessage as User

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "</s>")

TOOLS = '''
from typing import Literal

from distill.toolsets import tool


@tool
def ring(times: int, bell: Literal["door", "church"] = "door") -> str:
    """Ring a bell.

    Args:
        times: How often.
        bell: Which one.
    """
    return "rung"
'''

CONFIG = """
name: bells
toolset: tools/bells
teacher: {provider: openai_chat, model: m, base_url: "http://127.0.0.1:1/v1", terms: mine}
student: {base: base}
train: {rank: 4, alpha: 8, learning_rate: 0.01, epochs: 2, batch_size: 4, evals: 2, eval_turns: 2}
"""


def trl_template(name: str) -> str:
    """Return a checkpoint's chat template as trl ships it."""
    return (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text()


@cache
def byte_tokenizer(template: str = "qwen2_5") -> Any:
    """Return a tokenizer whose tokens are bytes and the special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(alphabet)}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    tokenizer.chat_template = trl_template(template)
    return tokenizer


def tiny_model(seed: int = 0, width: int = 32) -> Qwen2ForCausalLM:
    """Return an untrained Qwen2 with two queries a KV head, in float32."""
    torch.manual_seed(seed)
    shape = Qwen2Config(
        vocab_size=264,
        hidden_size=width,
        intermediate_size=width * 3 // 2,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        max_position_embeddings=4096,
    )
    return Qwen2ForCausalLM(shape).float()


def save_base(folder: Path) -> None:
    """Write a base model folder."""
    tiny_model().save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)


def call(name: str, **arguments: Any) -> AssistantMessage:
    """Return a turn with one call."""
    content = json.dumps(arguments)
    return AssistantMessage(tool_calls=(ToolCall(id="c1", name=name, arguments=content),))


def example(count: int, tools: Any) -> Example:
    """Return a conversation in which the bell is rung `count` times."""
    messages = (
        SystemMessage(content="You ring bells."),
        User(content=f"Ring {count} times"),
        call("ring", times=count),
        ToolMessage(tool_call_id="c1", name="ring", content='"rung"'),
        AssistantMessage(content=f"Rang it {count} times."),
    )
    return Example(messages=messages, tools=tools, weights=(1.0, 1.0), meta={})


def wrong_bell(count: int, tools: Any) -> Pair:
    """Return a pair in which the other bell is rung."""
    messages = example(count, tools).messages
    return Pair(
        messages=messages[:2],
        tools=tools,
        chosen=call("ring", times=count),
        rejected=call("ring", times=count, bell="church"),
        kind="wrong_argument",
        key=f"{count}",
    )


def workspace(folder: Path, examples: int = 10) -> Config:
    """Write a base, a tool set, a data set and a config that trains on it."""
    tools = folder / "tools/bells"
    tools.mkdir(parents=True)
    (tools / "tools.py").write_text(TOOLS)
    (tools / "toolset.yaml").write_text(
        "name: bells\ndescription: Bells.\nsystem: You ring bells.\nsource: tools.py\n"
    )
    (folder / "configs").mkdir()
    (folder / "configs/bells.yaml").write_text(CONFIG)
    save_base(folder / "base")
    config = load_config(folder / "configs/bells.yaml")
    write_dataset(config, examples)
    return config


def write_dataset(config: Config, examples: int) -> None:
    """Write a data set of so many training examples and two for validation."""
    toolset = load_toolset(config.toolset_dir).toolset
    target = config.dataset_dir
    target.mkdir(parents=True, exist_ok=True)
    rows = [example_to_row(example(n, toolset.tools)) for n in range(examples + 2)]
    write_rows(target / TRAIN, rows[:examples])
    write_rows(target / VALIDATION, rows[examples:])
    pairs = [wrong_bell(n, toolset.tools) for n in range(examples * 2)]
    write_rows(target / PAIRS, [pair_to_row(pair) for pair in pairs])
    info = DatasetInfo(
        name="bells",
        toolset=toolset.name,
        toolset_hash=toolset.hash,
        teacher="somebody",
        terms="mine",
        traces=examples + 2,
        counts={},
        kinds={},
        rejected={},
        hash=dataset_hash(target),
    )
    (target / INFO).write_text(info.model_dump_json())
