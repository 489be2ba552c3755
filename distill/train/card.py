"""The model card that goes with an adapter."""

from __future__ import annotations

from pathlib import Path

from distill.config import TrainConfig
from distill.student.manifest import Manifest
from distill.train.data import Material

_CARD = """---
base_model: {base}
library_name: peft
tags: [tool-calling, lora, distillation]
---

# {name}

{what} that calls the tools of `{toolset}` the way the teacher
`{teacher}` does, trained with [tool-distill](https://pypi.org/project/tool-distill/).

| | |
|---|---|
| base | `{base}`{revision}, content `{base_hash}` |
| family, tool parser | {family}, `{parser}` |
| tool set | `{toolset}`, hash `{toolset_hash}` |
| data set | {examples} examples, {validation} for validation, hash `{dataset_hash}` |
| audit of the data set | {audit} |
| teacher | `{teacher}` |
| teacher's terms | {terms} |
| made | {created_at} |

## Training

{epochs:g} epochs of {batch_size} examples a step, learning rate {learning_rate:g}, seed {seed}.
{objective}{note}

| metric | value |
|---|---|
{metrics}

## Serving

    distill serve RUN_FOLDER

or with vLLM directly: {served}, `--tool-call-parser {parser}` and
`--chat-template chat_template.jinja` from this folder. Another template or parser than the one it
was trained with makes it worse.{kwargs}

## Limits

It knows the {tools} tools above, in the schemas with the hash above: a changed schema, another tool
set or another system prompt is outside what it was trained on. It repeats the mistakes of its
teacher that the data set's checks did not catch. Validation loss says little about whether calls
are right: run `distill eval` before using it.
"""

_OBJECTIVES = {
    "sft": "Loss on the assistant turns only, weighted per turn.",
    "dpo": "Direct preference optimization: the right answer of a pair against the wrong one, with "
    "the base as the reference.",
    "kto": "Kahneman-Tversky optimization: right and wrong answers, each judged alone, with the "
    "base as the reference.",
}
_WHAT = {
    "lora": "A LoRA adapter (rank {rank})",
    "qlora": "A LoRA adapter (rank {rank})",
    "full": "A model, all of whose weights were tuned,",
}
_SERVED = {"full": "this model"}
_NOTES = {
    "qlora": " The base was held in 4 bits (nf4) while training; serving adds the adapter to the "
    "base as it is."
}


def write_card(manifest: Manifest, material: Material, tools: int) -> str:
    """Return the card's text."""
    train = TrainConfig.model_validate(manifest.config["train"])
    recipe, method = train.recipe(len(material.train)), manifest.method
    kwargs = manifest.template_kwargs
    base = Path(manifest.base)
    return _CARD.format(
        name=manifest.name,
        base=base.name if base.is_absolute() else manifest.base,
        base_hash=manifest.base_hash,
        revision=f" at `{manifest.revision}`" if manifest.revision else "",
        what=_WHAT[method].format(rank=manifest.rank),
        served=_SERVED.get(method, "the base, this adapter as a LoRA module"),
        note=_NOTES.get(method, ""),
        family=manifest.family,
        parser=manifest.parser,
        toolset=manifest.toolset_name,
        toolset_hash=manifest.toolset_hash,
        tools=tools,
        examples=len(material.train),
        validation=len(material.validation),
        dataset_hash=manifest.dataset_hash,
        audit=material.info.audit.in_words() if material.info.audit else "none",
        teacher=material.info.teacher,
        terms=material.info.terms or "not stated",
        created_at=manifest.created_at,
        epochs=recipe.epochs,
        batch_size=train.batch_size,
        learning_rate=recipe.learning_rate,
        seed=train.seed,
        objective=_OBJECTIVES[train.objective],
        metrics="\n".join(f"| {key} | {value:,.6g} |" for key, value in manifest.metrics.items()),
        kwargs=f"\nRequests must set `chat_template_kwargs` to `{kwargs}`." if kwargs else "",
    )
