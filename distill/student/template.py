"""What a chat template must do for a student to learn calls from it, tried before any training.

It has to show the tools and write calls, and it must not write what changes from day to day: the
student would be served other prompts than it was trained on. Whether it writes a turn as it prompts
for it is seen for every turn that is rendered.
"""

from __future__ import annotations

from typing import Any

from distill.errors import StudentError
from distill.student.families import Family
from distill.student.render import Renderer, template_message
from distill.types import AssistantMessage, Tool, ToolCall, UserMessage

_TOOL = Tool(name="ring_the_bell", description="Ring.", parameters={"type": "object"})
_CALL = AssistantMessage(tool_calls=(ToolCall(id="call_1", name="ring_it_now", arguments="{}"),))
_ASKED = UserMessage(content="Ring")


def check_template(tokenizer: Any, family: Family) -> None:
    """Refuse a template that calls cannot be learnt from.

    Raises:
        StudentError: It shows no tools, writes no calls, or writes today's date.
    """
    if _TOOL.name not in Renderer(tokenizer, family).prompt([_ASKED], [_TOOL.as_function()]):
        raise _unfit("does not show the tools it is given")
    if _CALL.tool_calls[0].name not in _written(tokenizer, family, "1 May"):
        raise _unfit("does not write the calls of a turn")
    if _written(tokenizer, family, "1 May") != _written(tokenizer, family, "2 May"):
        raise _unfit("writes today's date, so that prompts change from day to day")


def _written(tokenizer: Any, family: Family, today: str) -> str:
    rows = [template_message(message, family) for message in (_ASKED, _CALL)]
    kwargs = dict(family.template_kwargs) | {"strftime_now": lambda _: today}
    text: str = tokenizer.apply_chat_template(
        rows, tools=[_TOOL.as_function()], tokenize=False, **kwargs
    )
    return text


def _unfit(why: str) -> StudentError:
    return StudentError(
        f"the chat template {why}; set student.template to one that fits, or student.base to an "
        "instruction-tuned checkpoint"
    )
