"""Recording: a pass-through endpoint between an agent that already runs and its provider.

    agent -> app (passes everything on) -> provider
              `-> recorder (a thread: wires -> traces.joining -> the store)

The agent's requests reach the provider as they are and its answers come back byte for byte, as
they arrive. What was said is told into the trace store beside that; nothing that goes wrong there
is felt by the agent. What this does not do: answer, retry, limit, or change anything.
"""

from distill.record.app import create_app
from distill.record.recorder import Counts, Recorder
from distill.record.upstream import Upstream

__all__ = ["Counts", "Recorder", "Upstream", "create_app"]
