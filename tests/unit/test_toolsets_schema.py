"""Schemas from functions, and what is refused while a tool set is loaded."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from distill.errors import ToolSetError
from distill.toolsets import load_toolset, validate_arguments
from distill.toolsets.arguments import validate_schema
from distill.types import Tool

MANIFEST = "name: mini\ndescription: d\nsystem: Be brief.\nsource: tools.py\n"
HEADER = """\
import datetime
from enum import Enum
from typing import Annotated, Literal, Optional
from pydantic import BaseModel, Field
from typing_extensions import TypedDict
from distill.toolsets import Environment, ToolError, tool

"""


@pytest.fixture
def folder(tmp_path):
    def write(code: str, manifest: str = MANIFEST) -> Path:
        (tmp_path / "toolset.yaml").write_text(manifest)
        (tmp_path / "tools.py").write_text(HEADER + code)
        return tmp_path

    return write


def only_schema(folder, parameter: str, before: str = "") -> dict:
    code = (
        f'{before}\n@tool\ndef f({parameter}):\n    """Do.\n\n    Args:\n        x: It.\n    """\n'
    )
    return load_toolset(folder(code)).toolset.tools[0].parameters


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ("x: str", {"type": "string", "description": "It."}),
        ("x: int = 3", {"type": "integer", "description": "It.", "default": 3}),
        (
            "x: Annotated[float, Field(ge=5, le=30)]",
            {"type": "number", "minimum": 5, "maximum": 30, "description": "It."},
        ),
        ("x: Literal['a', 'b']", {"type": "string", "enum": ["a", "b"], "description": "It."}),
        ("x: str | None = None", {"type": "string", "description": "It."}),
        ("x: Optional[int] = None", {"type": "integer", "description": "It."}),
        (
            "x: datetime.date = datetime.date(2026, 3, 2)",
            {"type": "string", "format": "date", "description": "It.", "default": "2026-03-02"},
        ),
        ("x: datetime.time", {"type": "string", "format": "time", "description": "It."}),
        (
            "x: list[str]",
            {"type": "array", "items": {"type": "string"}, "description": "It."},
        ),
        (
            "x: set[int]",
            {
                "type": "array",
                "items": {"type": "integer"},
                "uniqueItems": True,
                "description": "It.",
            },
        ),
    ],
)
def test_hints_become_schemas(folder, parameter, expected):
    schema = only_schema(folder, parameter)
    assert schema["properties"]["x"] == expected
    assert schema["required"] == ([] if "=" in parameter.split("]")[-1] else ["x"])
    assert schema["additionalProperties"] is False


def test_a_default_set_has_one_order(folder):
    x = only_schema(folder, "x: set[str] = {'c', 'a', 'e', 'b', 'd'}")["properties"]["x"]
    assert x["default"] == ["a", "b", "c", "d", "e"]


def test_an_enum_class_becomes_an_enum(folder):
    before = "class Size(Enum):\n    S = 's'\n    L = 'l'\n"
    x = only_schema(folder, "x: Size = Size.L", before)["properties"]["x"]
    assert x == {"type": "string", "enum": ["s", "l"], "description": "It.", "default": "l"}


def test_nested_models_are_inlined_and_fields_called_title_survive(folder):
    before = (
        "class Line(BaseModel):\n    title: str\n    note: str | None = None\n"
        "class Order(TypedDict):\n    lines: list[Line]\n"
    )
    x = only_schema(folder, "x: Order", before)["properties"]["x"]
    line = x["properties"]["lines"]["items"]
    assert line["properties"] == {"title": {"type": "string"}, "note": {"type": "string"}}
    assert line["required"] == ["title"]
    assert "title" not in line and "$defs" not in x


def test_a_type_that_contains_itself_is_refused(folder):
    before = "class Node(BaseModel):\n    next: 'Node | None' = None\n"
    with pytest.raises(ToolSetError, match=r"tools\.py:\d+: tool 'f' .* contains itself"):
        only_schema(folder, "x: Node", before)


def test_the_whole_docstring_describes_the_tool(folder):
    doc = '"""Do this.\n\n    Only\n    once.\n\n    Returns:\n        it\n    """'
    code = f"@tool\ndef f():\n    {doc}\n"
    tool = load_toolset(folder(code)).toolset.tools[0]
    assert tool.description == "Do this. Only once."


def test_tools_keep_their_order_and_environment_follows_functions(folder):
    doc = '"""Do."""'
    code = (
        f"@tool\ndef b(): {doc}\n\n@tool\ndef a(): {doc}\n\ndef hidden(): {doc}\n\n"
        f"class Base(Environment):\n    @tool\n    def z(self): {doc}\n"
        f"class Room(Base):\n    @tool\n    def y(self): {doc}\n"
    )
    loaded = load_toolset(folder(code))
    assert [tool.name for tool in loaded.toolset.tools] == ["b", "a", "z", "y"]
    assert loaded.environment.__name__ == "Room"
    assert loaded.toolset.system == "Be brief."


def test_loading_leaves_the_search_path_and_the_folder_alone(folder):
    path = folder('@tool\ndef f():\n    """Do."""\n')
    before = list(sys.path)
    first, second = load_toolset(path), load_toolset(path)
    assert sys.path == before and "tools" not in sys.modules
    assert sorted(p.name for p in path.iterdir()) == ["tools.py", "toolset.yaml"]
    assert first.toolset.hash == second.toolset.hash
    assert first.functions["f"].function is not second.functions["f"].function


LINE = HEADER.count("\n") + 1


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            '@tool\ndef f(x):\n    """Do.\n\n    Args:\n        x: It.\n    """',
            "no type hint on 'x'",
        ),
        ('@tool\ndef f(x: int):\n    """Do."""', "does not describe 'x'"),
        ("@tool\ndef f(): pass", "has no docstring"),
        (
            '@tool\ndef f():\n    """Do.\n\n    Args:\n        y: It.\n    """',
            "describes 'y', which is not a parameter",
        ),
        ('@tool\ndef f(*x: int):\n    """Do."""', "with a star"),
        ('@tool\ndef f(x: int, /):\n    """Do."""', "by position only"),
        (
            '@tool\ndef f(x: Unknown):\n    """Do.\n\n    Args:\n        x: It.\n    """',
            "Unknown",
        ),
        (
            '@tool\ndef f(x: object()):\n    """Do.\n\n    Args:\n        x: It.\n    """',
            "'x'",
        ),
        (
            '@tool\ndef f(x: int = None):\n    """Do.\n\n    Args:\n        x: It.\n    """',
            "gives 'x' a default outside its type: None",
        ),
        (
            "@tool\ndef f(x: Annotated[str, Field(json_schema_extra={'pattern': '('})]):\n"
            '    """Do.\n\n    Args:\n        x: It.\n    """',
            "invalid schema",
        ),
        (f"@tool\ndef {'f' * 65}():\n    " + '"""Do."""', "is no name for a tool"),
        ("raise KeyError('gone')", "KeyError: 'gone'"),
        ("def broken(:\n    pass", "not valid Python"),
    ],
)
def test_a_wrong_tool_is_refused_with_its_line(folder, code, message):
    with pytest.raises(ToolSetError) as error:
        load_toolset(folder(code + "\n"))
    assert message in str(error.value)
    assert f"tools.py:{LINE}:" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_second_definition_of_a_tool_is_refused(folder):
    code = '@tool\ndef f():\n    """A."""\n\n@tool\ndef f():\n    """B."""\n'
    with pytest.raises(
        ToolSetError, match=rf"tools\.py:{LINE + 5}: there are two tools called 'f'"
    ):
        load_toolset(folder(code))


def test_a_function_and_a_method_of_one_name_are_refused(folder):
    code = (
        '@tool\ndef f():\n    """A."""\n\n'
        'class Room(Environment):\n    @tool\n    def f(self):\n        """B."""\n'
    )
    with pytest.raises(ToolSetError, match="there are two tools called 'f'"):
        load_toolset(folder(code))


def test_two_environments_are_refused(folder):
    code = "class A(Environment): pass\nclass B(Environment): pass\n"
    with pytest.raises(ToolSetError, match="A, B are all Environments"):
        load_toolset(folder(code))


def test_a_tool_set_without_tools_is_refused(folder):
    with pytest.raises(ToolSetError, match=r"tools\.py: no tools; mark"):
        load_toolset(folder("x = 1\n"))


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (MANIFEST + "sytem: x\n", r"toolset\.yaml:5: unknown key 'sytem'; did you mean 'system'"),
        ("name: mini\ndescription: d\n", "key 'source' is missing"),
        (MANIFEST.replace("mini", "Mini!"), r"toolset\.yaml:1: name: .* got 'Mini!'"),
        (MANIFEST.replace("tools.py", "spec.json"), r"source 'spec\.json' is not a \.py file"),
        (MANIFEST.replace("tools.py", "missing.py"), "cannot read"),
        ("name: [", r"toolset\.yaml:\d: cannot be read"),
        ("- a\n", "is a mapping of keys"),
    ],
)
def test_a_wrong_manifest_is_refused(folder, manifest, message):
    with pytest.raises(ToolSetError, match=message):
        load_toolset(folder('@tool\ndef f():\n    """Do."""\n', manifest))


def test_an_unknown_folder_is_refused(tmp_path):
    with pytest.raises(ToolSetError, match=r"no tool set in .*nowhere.*toolset\.yaml"):
        load_toolset(tmp_path / "nowhere")


TOOL = Tool(
    name="f",
    description="",
    parameters={
        "type": "object",
        "properties": {
            "level": {"type": "integer", "maximum": 5},
            "day": {"type": "string", "format": "date"},
            "at": {"type": "string", "format": "time"},
        },
        "required": ["level"],
        "additionalProperties": False,
    },
)


@pytest.mark.parametrize(
    ("arguments", "violation"),
    [
        ({"level": 3}, None),
        ({"level": 3, "day": "2026-03-02", "at": "18:30"}, None),
        ({"level": 3, "at": "18:30:00"}, None),
        ({"level": 9}, "level: 9 is greater than the maximum of 5"),
        ({"level": "3"}, "level: '3' is not of type 'integer'"),
        ({}, "'level' is a required property"),
        ({"level": 3, "day": "2026-02-30"}, "day: '2026-02-30' is not a 'date'"),
        ({"level": 3, "at": "half past six"}, "at: 'half past six' is not a 'time'"),
        ({"level": 3, "lvl": 3}, "Additional properties are not allowed ('lvl' was unexpected)"),
    ],
)
def test_violations_in_words(arguments, violation):
    assert validate_arguments(TOOL, arguments) == violation


@pytest.mark.parametrize(
    ("name", "value", "valid"),
    [
        ("uri", "https://example.org/a?b=c#d", True),
        ("uri", "https://example.org/caf\u00e9", True),
        ("uri", "urn:isbn:12345", True),
        ("uri", "/a/path", False),
        ("uri", "no address", False),
        ("duration", "P1DT2H", True),
        ("duration", "PT30M", True),
        ("duration", "5 days", False),
        ("duration", "Plenty", False),
        ("email", "ann@example.org", True),
        ("email", "ann", False),
        ("uuid", "no", False),
        ("ipv4", "300.1.1.1", False),
    ],
)
def test_formats(name, value, valid):
    parameters = {"type": "object", "properties": {"v": {"type": "string", "format": name}}}
    tool = Tool(name="t", description="T.", parameters=parameters)
    assert (validate_arguments(tool, {"v": value}) is None) is valid


def test_a_schema_that_is_no_schema():
    broken = TOOL.model_copy(update={"parameters": {"type": "objekt"}})
    assert "objekt" in validate_schema(broken)
    assert "not 'object'" in validate_schema(TOOL.model_copy(update={"parameters": {}}))
    assert validate_schema(TOOL) is None
