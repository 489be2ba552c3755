"""`distill tools`: import tool sets, look at them, check them, compare them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from distill.toolsets import LoadedToolSet
    from distill.toolsets.sources.importing import Imported
    from distill.types import ToolSet

tools = typer.Typer(help="Import, show, check and compare tool sets.", no_args_is_help=True)
import_ = typer.Typer(
    help="Make a tool set of an API, an MCP server or a list of schemas.", no_args_is_help=True
)
tools.add_typer(import_, name="import")

FolderArgument: TypeAlias = Annotated[
    Path, typer.Argument(metavar="DIR", help="Folder of the tool set.", show_default=False)
]
UpdateOption: TypeAlias = Annotated[
    bool,
    typer.Option("--update", help="Import again; toolset.yaml and the tasks stay as they are."),
]
OnlyOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="PATTERN",
        help="Take only tools whose name (or tag, or path) matches; may be repeated.",
        show_default=False,
    ),
]


@tools.command("list")
def list_(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder that holds tool sets.")
    ] = Path("tools"),
) -> None:
    """List the tool sets of a workspace."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from distill.errors import DistillError, ToolSetError
    from distill.toolsets import load_toolset

    found = sorted(path.parent for path in folder.glob("*/toolset.yaml"))
    if not found:
        raise ToolSetError(f"no tool set in {str(folder)!r}; `distill tools import` makes one")
    table = Table("set", "source", "tools", "hash", "description", box=None, header_style="dim")
    for path in found:
        try:
            loaded = load_toolset(path)
        except DistillError as error:
            table.add_row(path.name, "[red]fault[/]", "", "", escape(str(error)))
            continue
        count, described = str(len(loaded.toolset.tools)), escape(loaded.description)
        table.add_row(path.name, loaded.source, count, loaded.toolset.hash, described)
    Console().print(table)


@tools.command()
def show(
    folder: FolderArgument,
    name: Annotated[
        str | None, typer.Argument(metavar="TOOL", help="One tool.", show_default=False)
    ] = None,
) -> None:
    """Show what a model is told: the tools of a set, or one with its schema."""
    import json

    from rich.console import Console

    from distill.errors import ToolSetError
    from distill.toolsets import load_toolset

    loaded, console = load_toolset(folder), Console(soft_wrap=True, highlight=False)
    if name is None:
        _show_set(loaded, console)
        return
    tool = loaded.toolset.get(name)
    if tool is None:
        known = ", ".join(loaded.functions)
        raise ToolSetError(f"{str(folder)!r} has no tool {name!r}; it has {known}")
    console.print(json.dumps(tool.as_function(), indent=2, ensure_ascii=False), markup=False)


def _show_set(loaded: LoadedToolSet, console: Console) -> None:
    console.print(f"{loaded.toolset.name}: {loaded.description}", markup=False)
    console.print(f"source {loaded.source}, hash {loaded.toolset.hash}")
    if loaded.toolset.system:
        console.print(f"\n{loaded.toolset.system}", markup=False, style="dim")
    for tool in loaded.toolset.tools:
        known = tool.parameters.get("properties", {})
        required = tool.parameters.get("required", ())
        words = ", ".join(p if p in required else f"{p}?" for p in known)
        original = loaded.names.get(tool.name)
        renamed = f"  (there: {original})" if original else ""
        console.print(f"\n{tool.name}({words}){renamed}", markup=False, style="bold")
        console.print(f"  {tool.description}", markup=False)


@tools.command()
def check(
    folder: FolderArgument,
    live: Annotated[
        bool, typer.Option("--live", help="Also start or reach what executes the calls.")
    ] = False,
) -> None:
    """Load a tool set and its tasks; say what is wrong or missing.

    Exit code 2 if the set cannot be used.
    """
    from rich.console import Console

    from distill.toolsets import load_tasks, load_toolset
    from distill.toolsets.probe import probe

    console = Console(soft_wrap=True, highlight=False)
    loaded = load_toolset(folder)
    console.print(f"[green]ok[/]       {len(loaded.toolset.tools)} tools, {loaded.toolset.hash}")
    if loaded.tasks_path is None:
        console.print("[yellow]warning[/]  toolset.yaml names no tasks")
    else:
        count = len(load_tasks(loaded, None, count=1000, seed=0))
        console.print(f"[green]ok[/]       {count} tasks (of at most 1,000 looked at)")
    for gap in loaded.gaps:
        console.print("[yellow]warning[/] ", end=" ")
        console.print(gap, markup=False)
    if live:
        probe(loaded)
        console.print(f"[green]ok[/]       {loaded.source} is ready for an episode")


@tools.command()
def diff(
    old: Annotated[
        Path,
        typer.Argument(
            metavar="OLD", help="Folder of a tool set, or a trace store.", show_default=False
        ),
    ],
    new: Annotated[
        Path,
        typer.Argument(
            metavar="NEW", help="Folder of a tool set, or a trace store.", show_default=False
        ),
    ],
) -> None:
    """Say what changed in meaning between two versions of a tool set.

    A trace store stands for the tool set its traces were collected with. Exit code 1 when a call
    that was right may now be wrong.
    """
    from rich.console import Console

    from distill.toolsets.difference import Level, compare

    console = Console(soft_wrap=True, highlight=False)
    before, after = _version(old), _version(new)
    changes = compare(before, after)
    if not changes:
        console.print(f"no difference: both are {before.hash}")
        return
    console.print(f"{before.hash} -> {after.hash}")
    for change in changes:
        console.print(f"{change.level:<9}{change.where or '-'}: {change.what}", markup=False)
    if any(change.level is Level.BREAKING for change in changes):
        raise typer.Exit(1)


def _version(path: Path) -> ToolSet:
    """Return the tool set a folder or a trace store holds."""
    from distill.errors import StoreError
    from distill.toolsets import load_toolset
    from distill.traces import TraceStore

    if not path.is_file():
        return load_toolset(path).toolset
    with TraceStore.open(f"sqlite:///{path.resolve()}") as store:
        known = store.settings().get("toolset.hash")
        if not isinstance(known, str):
            raise StoreError(f"trace store {str(path)!r} does not say which tool set it is of")
        return store.get_toolset(known)


@import_.command()
def openapi(
    document: Annotated[
        Path,
        typer.Argument(
            metavar="DOCUMENT", help="OpenAPI 3.0 or 3.1, JSON or YAML.", show_default=False
        ),
    ],
    folder: FolderArgument,
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            metavar="URL",
            help="Where calls are sent; without one none is. Take a test system.",
            show_default=False,
        ),
    ] = None,
    only: OnlyOption = None,
    update: UpdateOption = False,
) -> None:
    """Make a tool set of an OpenAPI document, an operation a tool.

    Credentials are read from environment variables, which openapi.yaml names.
    """
    from distill.toolsets.sources.importing import import_openapi

    _report(
        import_openapi(document, folder, server=server, only=tuple(only or ()), update=update),
    )


@import_.command()
def mcp(
    folder: FolderArgument,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- COMMAND ...]", help="Command that starts the server.", show_default=False
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option("--url", help="A Streamable HTTP server instead.", show_default=False),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(
            "--header",
            metavar="NAME=VALUE",
            help="Header of every request; ${VAR} is read from the environment.",
            show_default=False,
        ),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            "--env",
            metavar="VAR",
            help="Environment variable the server gets; may be repeated.",
            show_default=False,
        ),
    ] = None,
    files: Annotated[
        Path | None,
        typer.Option(
            "--files",
            metavar="DIR",
            help="Folder every episode gets a copy of; {files} in COMMAND stands for the copy.",
            show_default=False,
        ),
    ] = None,
    all_tools: Annotated[
        bool,
        typer.Option("--all-tools", help="Also tools that are not annotated as read-only."),
    ] = False,
    only: OnlyOption = None,
    update: UpdateOption = False,
) -> None:
    """Make a tool set of an MCP server, started by a command or reached by a URL.

    Only tools that the server annotates as read-only are taken, unless --all-tools is given. With
    --update the server may be left out: mcp.yaml names it.
    """
    from distill.errors import ToolSetError
    from distill.toolsets.sources.importing import import_mcp
    from distill.toolsets.sources.mcp import Server

    if bool(command) + (url is not None) > 1 or not (command or url or update):
        raise ToolSetError("name one server: `-- COMMAND ...`, or --url URL")
    server = None
    if command:
        server = Server(command=command[0], args=tuple(command[1:]), env=tuple(env or ()))
    elif url:
        server = Server(url=url, headers=_headers(header or ()))
    _report(
        import_mcp(
            server,
            folder,
            files=files,
            only=tuple(only or ()),
            all_tools=all_tools,
            update=update,
        )
    )


def _headers(given: Iterable[str]) -> dict[str, str]:
    from distill.errors import ToolSetError

    headers: dict[str, str] = {}
    for number, one in enumerate(given, 1):
        name, separator, value = one.partition("=")
        if not name or not separator:  # not shown: it may hold a key
            raise ToolSetError(f"--header number {number} is not NAME=VALUE; write it with '='")
        headers[name] = value
    return headers


@import_.command()
def schema(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="JSON: tools as OpenAI or Anthropic take them.", show_default=False
        ),
    ],
    folder: FolderArgument,
    update: UpdateOption = False,
) -> None:
    """Make a tool set of JSON Schemas; its calls are answered with recorded results."""
    from distill.toolsets.sources.importing import import_schema

    _report(import_schema(file, folder, update=update))


def _report(imported: Imported) -> None:
    from rich.console import Console
    from rich.table import Table

    from distill.toolsets import load_toolset

    console = Console(soft_wrap=True, highlight=False)
    loaded = load_toolset(imported.folder)
    if imported.skipped:
        table = Table("skipped", "why", box=None, header_style="dim")
        for name, why in imported.skipped.items():
            table.add_row(name, why)
        console.print(table)
    names = imported.snapshot.names
    for new, old in names.items():
        console.print(f"renamed  {old} -> {new}", markup=False)
    console.print(
        f"{len(loaded.toolset.tools)} tools, {len(imported.skipped)} skipped, "
        f"hash {loaded.toolset.hash}: {imported.folder}"
    )
    for note in imported.notes:
        console.print(f"note: {note}", markup=False)
    console.print(f"\nNext: [bold]distill tools show {imported.folder}[/bold]")
