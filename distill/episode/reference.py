"""Who answered, as a trace keeps it."""

from __future__ import annotations

from distill.teachers import Teacher
from distill.traces import TeacherRef


def reference(teacher: Teacher, served_model: str) -> TeacherRef:
    """Return what identifies a teacher, without how it is reached.

    Args:
        teacher: The teacher.
        served_model: The model that was served, as the endpoint named it last; empty: none was.
    """
    return TeacherRef(
        provider=teacher.provider,
        model=teacher.model,
        served_model=served_model,
        terms=teacher.terms,
        settings=dict(teacher.settings),
    )
