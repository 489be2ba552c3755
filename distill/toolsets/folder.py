"""A tool set on disk: a folder with `toolset.yaml`, the code of the tools, and tasks.

    name: home
    description: A home and devices hub.
    system: You run a home. Today is Monday, 2 March 2026.
    source: tools.py            # functions marked with @tool, and at most one Environment;
                                # or openapi.yaml, mcp.yaml, simulated.yaml, tools.json (`sources`)
    tasks: tasks.py             # generate(seed, count), or a tasks.jsonl; may be left out

User code is loaded by path under a name of its own: nothing in the folder is imported by name, and
the folder is never put on the search path. The tools come in the order they are defined in.
"""

from __future__ import annotations

import ast
import difflib
import itertools
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType, ModuleType

import yaml
from pydantic import Field, ValidationError

from distill.errors import DistillError, TaskError, ToolSetError
from distill.toolsets.arguments import validate_schema
from distill.toolsets.environment import Environment, is_tool
from distill.toolsets.functions import FunctionTool, read_function, where
from distill.toolsets.runner import Executable, NotThere, ToolRunner
from distill.toolsets.sources import Ask, SessionTool, Simulation, open_source
from distill.toolsets.sources.names import TOOL_NAME
from distill.types import Frozen, Json, Task, ToolSet

MANIFEST = "toolset.yaml"
SIMULATED_S = 3600.0
"""Simulated calls are timed by the model's own limit: waiting for a slot or for money is no fault
of the tool."""

_loads = itertools.count()


class Manifest(Frozen):
    """What `toolset.yaml` says."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    description: str
    system: str | None = None
    source: str
    tasks: str | None = None


@dataclass(frozen=True)
class LoadedToolSet:
    """A tool set with the code that executes it."""

    toolset: ToolSet
    folder: Path
    description: str
    functions: Mapping[str, Executable]
    environment: type[Environment] | None
    """State that episodes start from and that is compared at their end; Python tool sets only."""
    tasks_path: Path | None
    source: str
    """The file that says how calls are executed: tools.py, openapi.yaml, mcp.yaml,
    simulated.yaml, tools.json."""
    session: Callable[[float], Environment] | None = None
    """Opens what an imported tool set needs for one episode, given seconds for each call."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Name of a tool -> its name where it was imported from, when a provider would refuse that."""
    gaps: tuple[str, ...] = ()
    """What keeps calls from being executed as things stand: no server, a variable that is not
    set."""

    simulation: Simulation | None = None
    """How a model answers the calls; None: the tools are real, or recorded."""

    def runner(self, task: Task, timeout_s: float = 30, ask: Ask | None = None) -> ToolRunner:
        """Start the tools for one episode of `task`.

        Args:
            task: What the tools are set up for.
            timeout_s: Seconds before a call is given up.
            ask: Asks the model behind simulated tools; None: only recorded calls are answered.

        Raises:
            TaskError: The environment refuses the task's setup.
        """
        opened: Callable[..., Environment] | None = self.environment
        if self.simulation is not None and ask is not None:
            opened = partial(self.simulation.open, ask)
            timeout_s = SIMULATED_S
        elif self.session is not None:
            takes_setup = self.simulation is not None
            opened = partial(_open_session, self.session, timeout_s, takes_setup)
        offered = self.toolset.offered(task).tools
        functions = {
            tool.name: self.functions[tool.name]
            if self.toolset.get(tool.name) == tool
            else NotThere(tool)
            for tool in offered
        }
        return ToolRunner(functions, opened, task, timeout_s)


def load_toolset(folder: str | Path) -> LoadedToolSet:
    """Load the tool set in `folder`.

    Raises:
        ToolSetError: The folder, its manifest or one of its tools is wrong.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder)
    source = folder / manifest.source
    tasks = folder / manifest.tasks if manifest.tasks else None
    system = manifest.system.strip() if manifest.system else None
    loaded = LoadedToolSet(
        toolset=ToolSet(name=manifest.name, tools=(), system=system),
        folder=folder,
        description=manifest.description,
        functions={},
        environment=None,
        tasks_path=tasks,
        source=manifest.source,
    )
    if source.suffix == ".py":
        module = load_module(source, ToolSetError)
        environment = _find_environment(module, source)
        functions = _find_tools(module, environment, source)
        return _with_tools(replace(loaded, environment=environment), functions)
    opened = open_source(source)
    return _with_tools(
        replace(
            loaded,
            session=opened.session,
            names=opened.snapshot.names,
            gaps=opened.gaps,
            simulation=opened.simulation,
        ),
        {tool.name: SessionTool(tool) for tool in opened.snapshot.tools},
    )


def _with_tools(loaded: LoadedToolSet, functions: Mapping[str, Executable]) -> LoadedToolSet:
    tools = tuple(function.tool for function in functions.values())
    toolset = loaded.toolset.model_copy(update={"tools": tools})
    return replace(loaded, toolset=toolset, functions=MappingProxyType(dict(functions)))


def _open_session(
    session: Callable[[float], Environment], timeout_s: float, takes_setup: bool, **setup: Json
) -> Environment:
    if setup and not takes_setup:
        raise TypeError("a server takes no setup")
    return session(timeout_s)


def load_module(path: Path, error: type[ToolSetError] | type[TaskError] = TaskError) -> ModuleType:
    """Execute a Python file as a module of its own.

    A `tasks.py` that grows beyond one file loads the others this way.

    Raises:
        error: The file is missing or fails to import; names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise error(f"cannot read {str(path)!r}: {problem}") from problem
    module = ModuleType(f"distill_workspace_{path.stem}_{next(_loads)}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses and pydantic look type hints up there
    try:
        # Compiled here rather than by an importer: no cached bytecode in the user's folder.
        exec(compile(text, str(path), "exec"), module.__dict__)
    except Exception as problem:
        del sys.modules[module.__name__]
        if isinstance(problem, DistillError):
            raise
        raise error(describe_failure(problem, path)) from problem
    return module


def describe_failure(problem: Exception, path: Path) -> str:
    """Return one line on an exception of user code: the deepest line of `path`, and what."""
    if isinstance(problem, SyntaxError) and problem.filename == str(path):
        return f"{path}:{problem.lineno}: not valid Python: {problem.msg}"
    frames = [f for f in traceback.extract_tb(problem.__traceback__) if f.filename == str(path)]
    line = f":{frames[-1].lineno}" if frames else ""
    first = (str(problem).splitlines() or [""])[0]
    return f"{path}{line}: {type(problem).__name__}: {first}"


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not path.is_file():
        raise ToolSetError(f"no tool set in {str(folder)!r}: it has no {MANIFEST}")
    try:
        text = path.read_text(encoding="utf-8")
        data, node = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        at = f":{mark.line + 1}" if mark else ""
        raise ToolSetError(f"{path}{at}: cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(data, dict) or not isinstance(node, yaml.MappingNode):
        raise ToolSetError(f"{path}: a tool set is a mapping of keys, this is {data!r}")
    lines = {key.value: key.start_mark.line + 1 for key, _ in node.value}
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        raise ToolSetError(_explain(error, path, lines)) from None


def _explain(error: ValidationError, path: Path, lines: dict[str, int]) -> str:
    first = error.errors(include_url=False)[0]
    key = str(first["loc"][0])
    if first["type"] == "missing":
        return f"{path}: key {key!r} is missing"
    at = f"{path}:{lines.get(key, 1)}"
    if first["type"] == "extra_forbidden":
        known = sorted(Manifest.model_fields)
        close = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
        return f"{at}: unknown key {key!r}; {hint}"
    return f"{at}: {key}: {first['msg']}, got {first['input']!r}"


def _find_environment(module: ModuleType, source: Path) -> type[Environment] | None:
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Environment)
        and value.__module__ == module.__name__
    ]
    leaves = [a for a in found if not any(a is not b and issubclass(b, a) for b in found)]
    if len(leaves) > 1:
        names = ", ".join(leaf.__name__ for leaf in leaves)
        raise ToolSetError(f"{source}: {names} are all Environments; keep one, or derive it")
    return leaves[0] if leaves else None


def _find_tools(
    module: ModuleType, environment: type[Environment] | None, source: Path
) -> dict[str, FunctionTool]:
    _refuse_redefinitions(source)
    marked = [(v, False) for v in vars(module).values() if is_tool(v)]
    for owner in reversed(environment.__mro__ if environment else ()):
        names = [name for name, value in vars(owner).items() if is_tool(value)]
        marked += [(getattr(environment, name), True) for name in names]
    functions: dict[str, FunctionTool] = {}
    for value, is_method in marked:
        name = value.__name__
        if not TOOL_NAME.match(name):
            raise ToolSetError(
                f"{where(value)}: {name!r} is no name for a tool; use 1 to 64 of a-z A-Z 0-9 _ -"
            )
        if name in functions and functions[name].function is not value:
            raise ToolSetError(f"{where(value)}: there are two tools called {name!r}; rename one")
        functions[name] = read_function(value, is_method=is_method)
        if problem := validate_schema(functions[name].tool):
            raise ToolSetError(f"{where(value)}: tool {name!r} has an invalid schema: {problem}")
    if not functions:
        raise ToolSetError(f"{source}: no tools; mark functions or methods with @tool")
    return functions


def _refuse_redefinitions(source: Path) -> None:
    """Python lets a second `def` of one name replace the first in silence."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    classes = [node.body for node in tree.body if isinstance(node, ast.ClassDef)]
    for body in [tree.body, *classes]:
        seen: set[str] = set()
        for node in body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if any(ast.unparse(d).split(".")[-1] == "tool" for d in node.decorator_list):
                if node.name in seen:
                    raise ToolSetError(
                        f"{source}:{node.lineno}: there are two tools called {node.name!r}; "
                        "rename one"
                    )
                seen.add(node.name)
