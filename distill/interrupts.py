"""Ctrl-C inside a running event loop: a function is called instead of an exception raised.

What the first and the second one mean is the caller's business.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from signal import Signals


@contextmanager
def handled(handler: Callable[[], None], *signals: Signals) -> Iterator[None]:
    """Call `handler` at each of these signals; outside the main thread they are left alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    for number in signals:
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
