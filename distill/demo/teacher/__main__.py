"""`python -m distill.demo.teacher CONFIG`: start the embedded teacher for one config's tasks.

Prints one line when it is ready and one when it stops (SIGTERM or Ctrl-C).
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from distill.config import load_config
from distill.demo.teacher.busy import Busy
from distill.demo.teacher.script import Script
from distill.demo.teacher.server import TeacherServer
from distill.errors import DistillError
from distill.toolsets import load_tasks, load_toolset

HOST = "127.0.0.1"
PORT = 8790
ERROR_RATE = 0.12
BUSY_RATE = 0.001
"""Few enough that waiting them out costs a demo some seconds only."""


def main(arguments: list[str] | None = None) -> int:
    """Serve until stopped; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        server = start(options)
    except DistillError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"embedded teacher ready at http://{HOST}:{server.port}/v1", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()
    counts = server.counts
    print(f"embedded teacher stopped: {counts.answered} answers, {counts.turned_away} turned away")
    return 0


def start(options: argparse.Namespace) -> TeacherServer:
    """Return the server, listening.

    Raises:
        DistillError: The config, tool set or tasks are wrong, or the port is taken.
    """
    config = load_config(options.config, options.set)
    loaded = load_toolset(config.toolset_dir)
    path = config.path(config.tasks.path) if config.tasks.path else None
    tasks = load_tasks(loaded, path, config.tasks.count, config.tasks.seed)
    script = Script(loaded.toolset, tasks, options.seed, options.error_rate)
    busy = Busy(options.busy_rate, options.seed)
    try:
        return TeacherServer((HOST, options.port), script, busy)
    except OSError as error:
        raise DistillError(
            f"the embedded teacher cannot listen on {HOST}:{options.port}: {error.strerror}; "
            "stop what listens there, or pass another --port"
        ) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m distill.demo.teacher",
        description="A scripted stand-in for a frontier model that knows one config's tasks.",
    )
    parser.add_argument("config", type=Path, help="the distillation's YAML file")
    parser.add_argument("--port", type=int, default=PORT, help="0 picks a free one")
    parser.add_argument(
        "--error-rate", type=_share, default=ERROR_RATE, help="share of tasks it gets wrong"
    )
    parser.add_argument(
        "--busy-rate", type=_share, default=BUSY_RATE, help="share of requests turned away first"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of wording and mistakes")
    parser.add_argument("--set", action="append", metavar="KEY=VALUE", help="override a config key")
    return parser


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
