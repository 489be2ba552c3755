"""`distill tools`: schemas in, what is shown, checked and compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from filter_world import make_trace, store_traces
from imported_world import playing, write_document
from typer.testing import CliRunner

from distill.cli.main import app
from distill.config import load_config
from distill.errors import DistillError
from distill.toolsets import load_toolset
from distill.toolsets.difference import Level, compare
from distill.toolsets.sources.foreign import read_tools
from distill.toolsets.sources.names import PARAMETER_NAME, TOOL_NAME, accepted_names
from distill.types import Tool, ToolSet

SCHEMA = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
OPENAI = [
    {"type": "function", "function": {"name": "get", "description": "Get.", "parameters": SCHEMA}}
]
RESPONSES = [{"type": "function", "name": "get", "description": "Get.", "parameters": SCHEMA}]
ANTHROPIC = [{"name": "get", "description": "Get.", "input_schema": SCHEMA}]


def run(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["tools", *map(str, words)])
    if isinstance(result.exception, DistillError):
        assert code == 2, result.exception
        return str(result.exception)
    assert result.exit_code == code, result.output
    return result.output


# --- lists of schemas -------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [OPENAI, RESPONSES, ANTHROPIC, {"model": "m", "tools": OPENAI}])
def test_every_form_gives_the_same_tool(rows) -> None:
    snapshot, skipped = read_tools(rows)
    assert snapshot.tools == (Tool(name="get", description="Get.", parameters=SCHEMA),)
    assert snapshot.names == {} and skipped == {}


def test_what_is_no_tool_is_skipped_with_a_reason() -> None:
    rows = [
        *OPENAI,
        *OPENAI,
        {"type": "web_search"},
        {"type": "web_search_20260209", "name": "search"},
        {"name": "bad", "input_schema": {"type": "array"}},
        "text",
    ]
    snapshot, skipped = read_tools(rows)
    assert [tool.name for tool in snapshot.tools] == ["get"]
    assert skipped["get"] == "another tool has this name"
    assert "no name" in skipped["tool 2"]
    assert "built-in tool" in skipped["tool 3"]
    assert "is 'array', not 'object'" in skipped["tool 4"]
    assert "a tool is an object" in skipped["tool 5"]


def test_names_are_mapped_one_to_one() -> None:
    long = "a" * 90
    originals = ["shop.get", "shop get", "shop_get", long, f"{long}b", "über", "€"]
    names = accepted_names(originals, TOOL_NAME)
    assert names["shop_get"] == "shop_get"  # what is accepted stays
    assert all(TOOL_NAME.match(name) for name in names.values())
    assert len(set(names.values())) == len(originals)
    assert accepted_names(["a.b", "a[b]"], PARAMETER_NAME) == {"a.b": "a.b", "a[b]": "a_b"}


# --- the commands -----------------------------------------------------------------------------


def test_import_schema_show_and_replay(tmp_path: Path) -> None:
    source = tmp_path / "request.json"
    rows = json.loads(json.dumps(OPENAI).replace('"get"', '"order.get"'))
    source.write_text(json.dumps({"tools": [*rows, {"type": "web_search"}]}))
    folder = tmp_path / "tools" / "My Shop"
    said = run("import", "schema", source, folder)
    assert "1 tools, 1 skipped" in said and "order.get -> order_get" in said
    assert "there: order.get" in run("show", folder)
    assert json.loads(run("show", folder, "order_get"))["function"]["parameters"] == SCHEMA
    assert "it has order_get" in run("show", folder, "gone", code=2)
    assert "no implementation" in run("check", folder)
    assert "no implementation" in run("check", folder, "--live", code=2)
    (folder / "recorded.jsonl").write_text(
        '{"name": "order_get", "arguments": {"id": "A"}, "content": "12"}\n'
    )
    assert "ready for an episode" in run("check", folder, "--live")
    with playing(load_toolset(folder)) as call:
        assert call("order_get", id="A") == 12
        assert "no result of this call was recorded" in call("order_get", id="B")["error"]
    (folder / "recorded.jsonl").write_text('{"name": "order_get"}\n')
    assert "recorded.jsonl:1: arguments: Field required" in run("check", folder, code=2)
    (tmp_path / "tools" / "broken").mkdir()
    (tmp_path / "tools" / "broken" / "toolset.yaml").write_text("name: broken\n")
    listed = run("list", tmp_path / "tools")
    assert listed.count("fault") == 2
    (folder / "recorded.jsonl").unlink()
    assert "tools.json" in run("list", tmp_path / "tools")


def test_import_openapi_and_diff(tmp_path: Path) -> None:
    document = write_document(tmp_path)
    old, new = tmp_path / "old", tmp_path / "new"
    said = run("import", "openapi", document, old, "--server", "http://127.0.0.1:1")
    assert "5 tools, 1 skipped" in said and "set OLD_TOKEN before collecting" in said
    document.write_text(document.read_text().replace('"exact"', '"strict"'))
    run("import", "openapi", document, new, "--only", "search", "--only", "status")
    same = run("diff", old, old)
    assert "no difference" in same
    said = run("diff", old, new, code=1)
    assert "breaking search.exact: removed" in said
    assert "wider    search.strict: added, optional" in said
    assert "breaking addBook: removed" in said


def test_mcp_needs_one_server(tmp_path: Path) -> None:
    assert "name one server" in run("import", "mcp", tmp_path / "x", code=2)
    said = run("import", "mcp", tmp_path / "x", "--url", "http://127.0.0.1:1", "--", "cat", code=2)
    assert "name one server" in said


def test_a_header_without_a_value_is_refused_and_not_shown(tmp_path: Path) -> None:
    options = ("--url", "http://127.0.0.1:1", "--header", "A=b", "--header", "Key: secret")
    said = run("import", "mcp", tmp_path / "x", *options, code=2)
    assert "--header number 2 is not NAME=VALUE" in said
    assert "secret" not in said


def test_diff_against_the_store_the_traces_are_in(tmp_path: Path) -> None:
    from filter_world import make_task, make_workspace

    from distill.traces import TraceStore

    config = make_workspace(tmp_path, [make_task("t", "Hello", None)])
    loaded = load_toolset(config.toolset_dir)
    store_traces(config, [make_trace(make_task("t", "Hello", None), loaded.toolset.hash, ["Hi."])])
    store = tmp_path / "traces" / "lamps.db"
    with TraceStore.open(config.store_url) as opened:
        opened.bind({"toolset.hash": loaded.toolset.hash})
    assert "no difference" in run("diff", store, config.toolset_dir)
    code = config.toolset_dir / "tools.py"
    code.write_text(code.read_text().replace('"attic"]', '"attic", "cellar"]'))
    said = run("diff", store, config.toolset_dir)
    assert "wider    set_light.room: also takes 'cellar'" in said
    assert load_config(config.source).toolset_dir == config.toolset_dir


# --- meaning ----------------------------------------------------------------------------------


def _set(*tools: tuple[str, dict], system: str = "S") -> ToolSet:
    made = [Tool(name=n, description=n, parameters={"type": "object", **s}) for n, s in tools]
    return ToolSet(name="s", tools=tuple(made), system=system)


def _one(**properties: dict) -> ToolSet:
    return _set(("t", {"properties": properties, "required": []}))


@pytest.mark.parametrize(
    ("old", "new", "level", "words"),
    [
        (_one(a={"enum": [1, 2]}), _one(a={"enum": [1]}), Level.BREAKING, "no longer takes 2"),
        (_one(a={"enum": [1]}), _one(a={}), Level.WIDER, "takes any value"),
        (_one(a={"default": 1}), _one(a={"default": 2}), Level.BREAKING, "default was 1, is now 2"),
        (_one(a={"type": "string"}), _one(a={"type": "integer"}), Level.BREAKING, "type was"),
        (_one(a={"maximum": 5}), _one(a={}), Level.WIDER, "maximum was 5"),
        (_one(a={}), _one(a={"maximum": 5}), Level.BREAKING, "maximum was"),
        (_one(a={"description": "x"}), _one(a={"description": "y"}), Level.WORDING, "description"),
        (
            _one(a={"items": {"properties": {"b": {}}}}),
            _one(a={"items": {"properties": {}}}),
            Level.BREAKING,
            "removed",
        ),
        (
            _set(("t", {"required": []})),
            _set(("t", {"required": []}), system="T"),
            Level.WORDING,
            "system prompt",
        ),
        (_set(("a", {}), ("b", {})), _set(("b", {}), ("a", {})), Level.WORDING, "order"),
        (_set(("a", {})), _set(("a", {}), ("b", {})), Level.WIDER, "added"),
    ],
)
def test_a_change_is_named_and_weighed(old, new, level, words) -> None:
    (change,) = compare(old, new)
    assert change.level is level and words in change.what


def test_a_renamed_tool_is_not_a_new_one() -> None:
    old = _set(("a", {"properties": {"x": {}}}), ("b", {}))
    tools = (old.tools[0].model_copy(update={"name": "z"}), old.tools[1])
    (change,) = compare(old, old.model_copy(update={"tools": tools}))
    assert (change.level, change.where, change.what) == (Level.BREAKING, "a", "renamed to z")


def test_required_parameters_are_compared() -> None:
    old = _set(("t", {"properties": {"a": {}, "b": {}}, "required": ["a"]}))
    new = _set(("t", {"properties": {"a": {}, "b": {}, "c": {}}, "required": ["b", "c"]}))
    found = {change.where: change.what for change in compare(old, new)}
    assert found == {"t.a": "became optional", "t.b": "became required", "t.c": "added, required"}
