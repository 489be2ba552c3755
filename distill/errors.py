"""Errors a user can act on.

    DistillError                 anything `distill` reports without a traceback; exit code 2
    |-- ConfigError              a config file or a --set override is wrong
    |-- ToolSetError             a tool set cannot be loaded, or its schemas are invalid
    |-- TaskError                a task or its expectation is wrong
    |-- StoreError               the trace store cannot be opened, or a trace cannot be stored
    |-- DatasetError             a data set is missing, empty or unreadable
    |-- TeacherError             the teacher failed for good (defined in distill.teachers)
    |-- StudentError             base model, tokenizer, template or parser do not fit
    |-- TrainError               training cannot start or continue
    `-- ServeError               vLLM is missing, died, or never became ready

A message says what is wrong, where (file:line or row), the offending value with `!r`, and what to
do next, in one line. A failed *episode* is data (an `Outcome` on its trace), never one of these.
"""

from __future__ import annotations


class DistillError(Exception):
    """Base of every error shown to the user as one line."""


class ConfigError(DistillError, ValueError):
    """A config file or an override is wrong."""


class ToolSetError(DistillError, ValueError):
    """A tool set cannot be loaded or declares an invalid tool."""


class TaskError(DistillError, ValueError):
    """A task, or the expectation it carries, is wrong."""


class StoreError(DistillError, OSError):
    """The trace store cannot be opened, or a trace cannot be stored."""


class DatasetError(DistillError, ValueError):
    """A data set is missing, empty or unreadable."""


class StudentError(DistillError, ValueError):
    """The student's base, tokenizer, template or parser do not fit together."""


class TrainError(DistillError, RuntimeError):
    """Training cannot start or continue."""


class ServeError(DistillError, RuntimeError):
    """The inference server is missing, died, or never became ready."""
