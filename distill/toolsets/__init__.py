"""Tool sets: what a model may call, how calls are executed, and which tasks it is asked.

`load_toolset` reads a folder of the workspace, `load_tasks` its tasks; a `ToolRunner` executes the
calls of one episode. `tool`, `Environment` and `ToolError` are what a `tools.py` is written with;
`generation` and `scenes` are what a `tasks.py` may be written with.
"""

from distill.toolsets.arguments import Violation, validate_arguments, violations
from distill.toolsets.environment import Environment, ToolError, UnansweredError, tool
from distill.toolsets.folder import LoadedToolSet, load_module, load_toolset
from distill.toolsets.runner import ToolRunner
from distill.toolsets.tasks import configured_tasks, load_tasks

__all__ = [
    "Environment",
    "LoadedToolSet",
    "ToolError",
    "ToolRunner",
    "UnansweredError",
    "Violation",
    "configured_tasks",
    "load_module",
    "load_tasks",
    "load_toolset",
    "tool",
    "validate_arguments",
    "violations",
]
