"""Orders as episodes: a few of them in one prompt, and a tool that takes the drafts.

The teacher works in the same episode loop as on any task. It is offered the set's own tools, on an
environment that is set up as the tasks will be, so that it can look up what exists, and
`submit_tasks`, which judges every draft and says what is wrong with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from distill.collect.authoring.bench import Bench, Refusal
from distill.collect.authoring.drafts import INTAKE_TOOL, SUBMIT, SUBMIT_TOOL
from distill.collect.authoring.orders import Order
from distill.errors import ToolSetError
from distill.toolsets import Environment, LoadedToolSet
from distill.types import Json, Kind, Task, Tool, ToolSet, UserTurn

MOST_STEPS = 12
"""Most answers of the model to one request: looking around, handing in, correcting."""

SYSTEM = """\
You write tasks that test an assistant. The assistant has the tools of a tool set and nothing \
else; a task is what a user says to it, and what a right answer is.

What users say:
- Write as the given person would, in the given style, about something that person could want. No \
two tasks open alike.
- A user knows neither the tools nor their parameters: never write the name of a tool or of a \
parameter, and never what a value is called inside, when people call it otherwise.
- Whatever the calls need is said by the user, is a default, or comes out of an earlier call. \
Nothing is left to a guess. There is one right set of calls.

Kinds:
- single: one call.
- choose: one call, in words that could make one think of the tool given as `near`, which is wrong.
- parallel: two or more calls that do not depend on each other, asked for in one message; all of \
step 0.
- multi_step: two or more calls, where a later one needs the result of an earlier one; the user \
asks for the end, not for the steps. Calls that depend on others have a higher step.
- multi_turn: the user speaks two or three times; later turns follow from what was done before.
- no_tool: close to what the tools are for (something like `near`), but no tool can do it: abstain.
- missing_parameter: a request for `tool` that does not say the parameter `lacks`, which nothing \
else tells: ask. `mentions` may hold the words for what is missing.
- tool_failed: as single; the tool will fail, which the user does not know.
- chat: thanks, a greeting, a question about what was said: answer without a call.

`calls` names tools that a right answer calls, `with` the values that one of its calls has; \
where no value stands, the parameter is given, with any value. Look up what exists with the tools \
where a task needs it; what you change is not changed for the tasks. Then hand everything in with \
{submit}, correct what is refused, and say that you are done.

The tool set: {description}
{agent}"""


@dataclass(frozen=True)
class Intake:
    """The tool that takes drafts, with what judges them."""

    bench: Bench
    tool: Tool = INTAKE_TOOL

    def invoke(self, environment: Environment | None, arguments: dict[str, Json]) -> Json:
        """Judge the drafts; say which orders are filled and what is wrong with the others."""
        verdicts = [self.bench.judge(row) for row in arguments["tasks"]]
        refused = [one for one in verdicts if isinstance(one, Refusal)]
        return {
            "accepted": [one.id for one in verdicts if isinstance(one, Task)],
            "refused": [one.model_dump(mode="json") for one in refused],
        }


def with_intake(loaded: LoadedToolSet, bench: Bench) -> LoadedToolSet:
    """Return the tool set that an author works with.

    Raises:
        ToolSetError: The set has a tool of the name that is needed here.
    """
    if loaded.toolset.get(SUBMIT):
        raise ToolSetError(f"{loaded.folder}: tasks cannot be written, a tool is called {SUBMIT!r}")
    lookups = loaded.toolset.tools if bench.execute else ()
    toolset = ToolSet(
        name=f"{loaded.toolset.name}-authoring",
        tools=(*lookups, SUBMIT_TOOL),
        system=_system(loaded, shown=not bench.execute),
    )
    functions = {tool.name: loaded.functions[tool.name] for tool in lookups}
    return replace(
        loaded,
        toolset=toolset,
        functions={**functions, SUBMIT: Intake(bench)},
        environment=loaded.environment if bench.execute else None,
        session=loaded.session if bench.execute else None,
    )


def requests(
    orders: Sequence[Order],
    toolset: str,
    size: int,
    attempt: int,
    setups: Sequence[dict[str, Json]],
) -> list[Task]:
    """Return orders as tasks of an author.

    Args:
        orders: What is to be written.
        toolset: Name of the author's tool set.
        size: Orders in one request.
        attempt: Which time these are asked for.
        setups: What environments start from; the orders of a request share one.
    """
    found = []
    for setup in setups:
        mine = [order for order in orders if order.setup == setup]
        for start in range(0, len(mine), size):
            part = mine[start : start + size]
            found.append(
                Task(
                    id=f"{part[0].id}-{attempt}",
                    toolset=toolset,
                    kind=Kind.CHAT,
                    family="authoring",
                    turns=(UserTurn(content=_prompt(part)),),
                    setup=setup,
                )
            )
    return sorted(found, key=lambda task: task.id)


def shown(order: Order) -> dict[str, Json]:
    """Return an order as the model reads it."""
    values = [
        {"tool": p.tool, "parameter": p.parameter} | ({} if p.any_value else {"value": p.value})
        for p in order.points
    ]
    row: Mapping[str, Json] = {
        "order": order.id,
        "kind": str(order.kind),
        "calls": list(order.tools) if order.lacks is None else None,
        "tool": order.tools[0] if order.lacks else None,
        "lacks": order.lacks,
        "near": order.near,
        "with": values,
        "turns": order.turns if order.turns > 1 else None,
        "person": order.persona,
        "style": order.style,
    }
    return {key: value for key, value in row.items() if value}


def _prompt(orders: Sequence[Order]) -> str:
    rows = "\n".join(json.dumps(shown(order), ensure_ascii=False) for order in orders)
    return f"Write one task for each of these orders.\n\n{rows}"


def _system(loaded: LoadedToolSet, *, shown: bool) -> str:
    agent = loaded.toolset.system
    parts = [f"\nThe assistant is told:\n{agent}" if agent else ""]
    if shown:
        tools = [tool.as_function()["function"] for tool in loaded.toolset.tools]
        lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
        parts.append(f"\nIts tools, which you cannot call:\n{lines}")
    description = loaded.description.strip()
    return SYSTEM.format(submit=SUBMIT, description=description, agent="\n".join(parts)).strip()
