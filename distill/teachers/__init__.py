"""Models behind APIs: Anthropic Messages, OpenAI Responses, any Chat Completions server.

A teacher sends one conversation and maps one answer; when a call is sent again is decided by the
pacing, what it cost by the price table. The SDKs are imported only when a teacher is created.
"""

from __future__ import annotations

from distill.config import TeacherConfig
from distill.errors import ConfigError
from distill.teachers.base import (
    Failure,
    Teacher,
    TeacherError,
    is_hosted,
    outgrew_context,
    refuse_without_terms,
    teacher_identity,
    teacher_settings,
)
from distill.teachers.gate import Gate
from distill.teachers.pacing import PacedTeacher, paced
from distill.teachers.prices import cost_usd, price_of, refuse_without_price

__all__ = [
    "Failure",
    "Gate",
    "PacedTeacher",
    "Teacher",
    "TeacherError",
    "cost_usd",
    "create_teacher",
    "is_hosted",
    "outgrew_context",
    "paced",
    "price_of",
    "refuse_without_price",
    "refuse_without_terms",
    "teacher_identity",
    "teacher_settings",
]


def create_teacher(config: TeacherConfig) -> Teacher:
    """Return the teacher a config asks for; it sends each call once (see `paced`).

    Raises:
        ConfigError: The key is not in the environment, or an endpoint is missing.
    """
    match config.provider:
        case "anthropic":
            from distill.teachers.anthropic import AnthropicTeacher

            return AnthropicTeacher(config)
        case "openai":
            from distill.teachers.openai import OpenAITeacher

            return OpenAITeacher(config)
        case "openai_chat":
            from distill.teachers.openai_chat import OpenAIChatTeacher

            if config.base_url is None:
                raise ConfigError(
                    "teacher.base_url: provider 'openai_chat' needs the server's address, "
                    "such as http://127.0.0.1:8000/v1"
                )
            return OpenAIChatTeacher(config)
