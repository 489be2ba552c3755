"""The template vLLM renders with: the trained one, blind to what a request tells the decoder alone.

A tool marked `strict` has its calls held to its schema while they are generated. vLLM shows the
mark to the chat template as well, and templates write a tool as it comes: the model would read
another prompt than in training, by as many tokens as there are tools. Clients set the mark on their
own (OpenAI's Agents SDK does), so do a retry of the gateway and a column of the evaluation.
"""

from __future__ import annotations

_BLIND = """\
{%- if tools %}
{%- set shown = namespace(tools=[]) %}
{%- for tool in tools %}
{%- set function = dict(tool.function.items() | rejectattr('0', 'equalto', 'strict')) %}
{%- set shown.tools = shown.tools + [dict(tool, function=function)] %}
{%- endfor %}
{%- set tools = shown.tools %}
{%- endif %}
"""
"""Its last line break is no text: templates are read with `trim_blocks`."""


def served_template(trained: str) -> str:
    """Return a chat template that renders every tool as `trained` does one without `strict`."""
    return _BLIND + trained
