"""One task run by one teacher, from the first user turn to its outcome."""

from distill.episode.episode import run_episode

__all__ = ["run_episode"]
