"""Rows for other trainers, and the config files with which they train what `distill train` would.

trl             `messages` with arguments as objects, `tools`; both as JSON text in a string
                column would lose their types, and as Arrow structs gain null keys, so
                `load_dataset` is to be given `Features` with `Json()` (see the written README)
axolotl         `messages`, `tools` as text, `train` on assistant messages
llama-factory   ShareGPT: human, gpt, function_call, observation; one observation for all
                results of a turn, because its roles must alternate
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from distill.chat import to_chat
from distill.config import Config, Recipe
from distill.dataset import read_info
from distill.errors import StudentError
from distill.export.chat import rows_with_weights
from distill.student.families import family_of
from distill.types import AssistantMessage, Example, SystemMessage, ToolMessage

TEMPLATES = {"qwen2.5": "qwen", "qwen3": "qwen3", "llama3.1": "llama3", "mistral": "mistral"}
"""Model family -> template of LLaMA-Factory."""
BETWEEN_RESULTS = "\n</tool_response>\n<tool_response>\n"
"""What LLaMA-Factory itself puts between the results of one turn."""

TRL_README = """\
# Load and train

```python
from datasets import Features, Json, List, load_dataset
from trl import SFTConfig, SFTTrainer

features = Features({"messages": List(Json()), "tools": List(Json())})
files = {"train": "train.jsonl", "validation": "validation.jsonl"}
data = load_dataset("json", data_files=files, features=features)
trainer = SFTTrainer("BASE", train_dataset=data["train"], args=SFTConfig(assistant_only_loss=True))
trainer.train()
```

`assistant_only_loss` needs a chat template that marks the assistant's tokens.
"""


def trl_row(example: Example) -> dict[str, Any]:
    """Return a row for TRL."""
    messages = [to_chat(message) for message in example.messages]
    for message in messages:
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return {"messages": messages, "tools": [tool.as_function() for tool in example.tools]}


def axolotl_row(example: Example) -> dict[str, Any]:
    """Return a row for Axolotl."""
    messages = []
    for message, weight in rows_with_weights(example):
        row = to_chat(message)
        if row["role"] == "assistant":
            row["train"] = weight > 0
        messages.append(row)
    tools = json.dumps([tool.as_function() for tool in example.tools], ensure_ascii=False)
    return {"messages": messages, "tools": tools}


def llama_factory_row(example: Example) -> dict[str, Any]:
    """Return a row for LLaMA-Factory."""
    system, turns = "", list[dict[str, str]]()
    for message in example.messages:
        match message:
            case SystemMessage():
                system = message.content
            case ToolMessage() if turns[-1]["from"] == "observation":
                turns[-1]["value"] += BETWEEN_RESULTS + message.content
            case ToolMessage():
                turns.append({"from": "observation", "value": message.content})
            case AssistantMessage() if message.tool_calls:
                calls = [{"name": c.name, "arguments": c.parsed()} for c in message.tool_calls]
                value = json.dumps(calls, ensure_ascii=False)
                turns.append({"from": "function_call", "value": value})
            case AssistantMessage():
                turns.append({"from": "gpt", "value": message.content or ""})
            case _:
                turns.append({"from": "human", "value": message.content})
    functions = [tool.as_function()["function"] for tool in example.tools]
    tools = json.dumps(functions, ensure_ascii=False)
    return {"conversations": turns, "system": system, "tools": tools}


def trl_files(config: Config) -> dict[str, str]:
    """Return what goes beside the rows for TRL."""
    return {"README.md": TRL_README.replace("BASE", config.base_model)}


def axolotl_files(config: Config) -> dict[str, str]:
    """Return what goes beside the rows for Axolotl: `axolotl train config.yaml`."""
    train, recipe = config.train, _recipe(config)
    data = {"type": "chat_template", "field_messages": "messages", "field_tools": "tools"}
    data |= {"message_field_training": "train"}
    return {
        "config.yaml": _yaml(
            {
                "base_model": config.base_model,
                "chat_template": "tokenizer_default",
                "datasets": [{"path": "train.jsonl", "ds_type": "json", **data}],
                "test_datasets": [
                    {"path": "validation.jsonl", "ds_type": "json", "split": "train", **data}
                ],
                "train_on_inputs": False,
                "adapter": "lora",
                "lora_r": recipe.rank,
                "lora_alpha": int(train.alpha),
                "lora_target_linear": True,
                "sequence_len": train.max_length,
                "micro_batch_size": 1,
                "gradient_accumulation_steps": train.batch_size,
                "num_epochs": recipe.epochs,
                "learning_rate": recipe.learning_rate,
                "lr_scheduler": "cosine",
                "warmup_ratio": train.warmup_ratio,
                "optimizer": "adamw_torch_fused",
                "bf16": "auto",
                "gradient_checkpointing": True,
                "seed": train.seed,
                "output_dir": "out",
            }
        )
    }


def llama_factory_files(config: Config) -> dict[str, str]:
    """Return what goes beside the rows: `llamafactory-cli train train.yaml` in that folder.

    Raises:
        StudentError: The student's family has no template there.
    """
    train, recipe, family = config.train, _recipe(config), family_of(config).name
    if family not in TEMPLATES:
        raise StudentError(f"student.family {family!r}: LLaMA-Factory has no template for it")
    columns = {"messages": "conversations", "system": "system", "tools": "tools"}
    files = {"distill": "train.jsonl", "distill_validation": "validation.jsonl"}
    info = {
        name: {"file_name": file, "formatting": "sharegpt", "columns": columns}
        for name, file in files.items()
    }
    settings = {
        "model_name_or_path": config.base_model,
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": recipe.rank,
        "lora_alpha": int(train.alpha),
        "lora_target": "all",
        "dataset_dir": ".",
        "dataset": "distill",
        "eval_dataset": "distill_validation",
        "template": TEMPLATES[family],
        "cutoff_len": train.max_length,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": train.batch_size,
        "learning_rate": recipe.learning_rate,
        "num_train_epochs": recipe.epochs,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": train.warmup_ratio,
        "bf16": True,
        "seed": train.seed,
        "output_dir": "out",
    }
    return {
        "dataset_info.json": json.dumps(info, indent=2) + "\n",
        "train.yaml": _yaml(settings),
    }


def _recipe(config: Config) -> Recipe:
    """Return what an adapter is trained with on this data set."""
    rows = read_info(config.dataset_dir).counts.get("train", 0)
    return config.train.model_copy(update={"method": "lora"}).recipe(rows)


def _yaml(settings: dict[str, Any]) -> str:
    return yaml.safe_dump(settings, sort_keys=False)
