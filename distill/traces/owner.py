"""Who holds a lease, written so that a dead holder on this machine is recognised at once.

    worker-3.example:4711:9f02c1aa      host, process id, a token of the run

A holder on another machine, or one whose process id was given to another process since, is only
known to be dead when its lease runs out.
"""

from __future__ import annotations

import os
import secrets
import socket
import time

from distill.traces.store import TraceStore


def new_owner() -> str:
    """Return the name under which this run takes episodes."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


def is_dead(owner: str) -> bool:
    """Whether the run that called itself so is certain to be over."""
    host, pid, _ = owner.rsplit(":", 2)
    if host != socket.gethostname():
        return False
    if int(pid) == os.getpid():
        return True  # an earlier run had our process id: we are only starting
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def reclaim(store: TraceStore, owner: str) -> None:
    """Take back what runs that are over have left behind: their episodes, their open calls.

    Args:
        store: Where they worked.
        owner: Who asks; never taken for dead.
    """
    for other, until in store.owners().items():
        if other != owner and (until < time.time() or is_dead(other)):
            store.release(other)
