"""Model families: how their checkpoints write tool calls, and what they cannot express.

A family is a call format with its vLLM parser. It is recognised from the base's architecture and
chat template, or from the hub id where nothing has been downloaded; `student.family` overrides
both. Supporting another family means one more entry here, if its template is right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from distill.config import Config
from distill.errors import StudentError
from distill.types import AssistantMessage, Example, Json


@dataclass(frozen=True)
class Family:
    """One call format."""

    name: str
    parser: str
    """vLLM's `--tool-call-parser`."""
    model_type: str
    """`model_type` of the checkpoint's config.json."""
    marker: str
    """Text that a template with this call format contains."""
    ids: re.Pattern[str]
    """Hub ids of this family."""
    end_of_turn: str
    """Special token that ends an assistant turn."""
    calls_per_turn: int | None = None
    """Most calls one turn can hold; None: any number."""
    call_id_length: int | None = None
    """The template wants ids of exactly so many letters and digits; None: ids are not shown."""
    template_kwargs: Mapping[str, Json] = field(default_factory=dict)
    """Variables of the template that training sets and the server's requests must set too."""

    def refuses(self, example: Example) -> str | None:
        """Say why this family cannot express an example; None when it can."""
        for message in example.messages:
            if isinstance(message, AssistantMessage) and self.calls_per_turn is not None:
                if len(message.tool_calls) > self.calls_per_turn:
                    return f"{self.name} makes {self.calls_per_turn} call a turn"
        return None


QWEN25 = Family(
    "qwen2.5", "hermes", "qwen2", "<tool_call>", re.compile(r"qwen-?2(\.5)?-", re.I), "<|im_end|>"
)
QWEN3 = Family(
    "qwen3",
    "hermes",
    "qwen3",
    "<tool_call>",
    re.compile(r"qwen-?3-", re.I),
    "<|im_end|>",
    template_kwargs={"enable_thinking": False},
)
LLAMA31 = Family(
    "llama3.1",
    "llama3_json",
    "llama",
    "<|start_header_id|>",
    re.compile(r"llama-?3\.[123]", re.I),
    "<|eot_id|>",
    calls_per_turn=1,
    template_kwargs={"date_string": "26 Jul 2024"},  # Llama-3.2 writes today's otherwise
)
MISTRAL = Family(
    "mistral",
    "mistral",
    "mistral",
    "[TOOL_CALLS]",
    re.compile(r"mistral", re.I),
    "</s>",
    call_id_length=9,
)

FAMILIES: dict[str, Family] = {f.name: f for f in (QWEN25, QWEN3, LLAMA31, MISTRAL)}


def family_of(config: Config) -> Family:
    """Return the family of a config's student, without the network.

    Raises:
        StudentError: It is unknown, or cannot be recognised.
    """
    if config.student.family:
        return family_named(config.student.family)
    folder = Path(config.base_model)
    if (folder / "config.json").is_file():
        return recognise(folder)
    for family in FAMILIES.values():
        if family.ids.search(config.student.base):
            return family
    raise StudentError(
        f"student.base {config.student.base!r}: family not recognised from its name; "
        f"set student.family to one of {', '.join(FAMILIES)}"
    )


def family_named(name: str) -> Family:
    """Return a family by name.

    Raises:
        StudentError: There is none of that name.
    """
    if name not in FAMILIES:
        raise StudentError(f"student.family: {name!r} is not one of {', '.join(FAMILIES)}")
    return FAMILIES[name]


def recognise(folder: Path) -> Family:
    """Recognise a downloaded base by its architecture, or else by its template.

    Raises:
        StudentError: Neither is known.
    """
    model_type = read_json(folder / "config.json").get("model_type")
    template = own_template(folder) or ""
    for family in FAMILIES.values():
        if family.model_type == model_type and family.marker in template:
            return family
    marked = [family for family in FAMILIES.values() if family.marker in template]
    if marked:
        return marked[0]
    raise StudentError(
        f"student.base {str(folder)!r}: a {model_type!r} model whose chat template has no tool "
        f"calls that distill knows; set student.template, and student.family to one of "
        f"{', '.join(FAMILIES)}"
    )


def own_template(folder: Path) -> str | None:
    """Return the chat template a checkpoint folder carries, or None."""
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    settings = folder / "tokenizer_config.json"
    template = read_json(settings).get("chat_template") if settings.is_file() else None
    if isinstance(template, list):  # several by name
        named = {entry["name"]: entry["template"] for entry in template}
        template = named.get("tool_use", named.get("default"))
    return template


def read_json(path: Path) -> dict[str, Json]:
    """Read a checkpoint's JSON file.

    Raises:
        StudentError: It is missing or not JSON.
    """
    try:
        content: dict[str, Json] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudentError(f"cannot read {str(path)!r}: {error}; is the model complete?") from error
    return content
