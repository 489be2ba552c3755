"""From a deployment to a checked endpoint behind its gateway, and back to nothing.

with launched(target, examples, show) as running:
    running.server.join()
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from logging.handlers import RotatingFileHandler
from pathlib import Path

import httpx2

from distill.endpoint import bound_socket, listening
from distill.errors import ConfigError
from distill.serve.address import Address, private_address
from distill.serve.checks import Taught, check_effect, check_parser, check_prompts
from distill.serve.command import PARSES_ON_REQUEST, release, vllm_command, vllm_environment
from distill.serve.deployment import Deployment
from distill.serve.files import Loaded, check_base, check_unchanged
from distill.serve.gateway.app import Gateway, create_app
from distill.serve.gateway.keep import Budget, Keeper
from distill.serve.gateway.remedy import Remedies
from distill.serve.gateway.upstream import Upstream
from distill.serve.samples import prompt, taught
from distill.serve.server import Server
from distill.serve.template import served_template
from distill.teachers import Teacher, create_teacher, is_hosted, refuse_without_price
from distill.traces import TraceStore
from distill.types import Example

LOG, GATEWAY_LOG, STORE = "serve.log", "gateway.log", "served.db"

TIMEOUT_S = 300.0
"""For one request of the checks: the first one of a fresh server may compile kernels."""

Progress = Callable[[str], None]


@dataclass
class Running:
    """A server that was found to be right."""

    server: Server
    address: Address
    findings: list[str] = field(default_factory=list)
    """What the checks found, one line each."""


@contextmanager
def launched(
    target: Deployment, examples: Sequence[Example], progress: Progress, log: Path | None = None
) -> Iterator[Running]:
    """Start vLLM, wait until it serves the deployment, check it, open the gateway; then stop all.

    Args:
        target: What to serve.
        examples: Conversations to check it with.
        progress: Told what is going on while it starts.
        log: File that takes vLLM's output; serve.log in the run's folder when None.

    Raises:
        ServeError: vLLM is missing, the port is taken, it does not come up, or what came up is
            not what was trained.
        ConfigError: A key is not in the environment, or the teacher's terms are not set.
    """
    release()
    key, teacher = target.key, _teacher(target)
    with ExitStack() as stack:
        door = stack.enter_context(bound_socket(target.settings.host, target.settings.port))
        address = stack.enter_context(private_address())
        trained = target.template.read_text(encoding="utf-8")
        address.template.write_text(served_template(trained), encoding="utf-8")
        loaded = Loaded(target.adapters)
        command, environment = vllm_command(target, address), vllm_environment(target, address)
        server = Server(command, environment, address, log or target.run_dir / LOG)
        running = Running(stack.enter_context(server), address)
        progress("importing")
        _check(target, running, examples, progress)
        check_unchanged(loaded)
        keeper = _keeper(target, teacher)

        def make() -> Gateway:
            upstream = Upstream(address, target.settings.timeout_s)
            return Gateway(
                upstream=upstream,
                students=frozenset(target.students),
                remedies=Remedies(target.settings.on_invalid, upstream, teacher, keeper),
                keeper=keeper,
                key=key,
                stale=loaded.stale,
            )

        stack.enter_context(_logging(target.run_dir / GATEWAY_LOG))
        stack.enter_context(listening(create_app(make), door))
        yield running


def _check(
    target: Deployment, running: Running, examples: Sequence[Example], progress: Progress
) -> None:
    """Run every check, those that need no server while it starts."""
    say = running.findings.append
    check_base(target)
    if target.base_hash:
        say(f"the base is the one that was trained on ({target.base_hash})")
    turns = taught(target, examples)
    running.server.wait(target.names, progress)
    with running.address.client(TIMEOUT_S) as client:
        _check_answers(target, client, turns, examples, progress, say)


def _check_answers(
    target: Deployment,
    client: httpx2.Client,
    turns: Sequence[Taught],
    examples: Sequence[Example],
    progress: Progress,
    say: Callable[[str], None],
) -> None:
    model = target.names[-1]
    progress("does it read prompts as training did")
    check_prompts(client, model, turns)
    kinds = len({example.meta.get("kind") for example in examples})
    say(f"{len(turns)} prompts of {kinds} kinds become the tokens of training")
    progress("does it parse calls as training wrote them")
    if release() >= PARSES_ON_REQUEST:
        check_parser(client, model, target.parser, turns)
        calls = sum(len(turn.answer.tool_calls) for turn in turns)
        say(f"{calls} calls come back from the parser {target.parser!r} as they were taught")
    else:
        say(f"the parser {target.parser!r} was not checked: this vLLM parses nothing on request")
    progress("does the adapter change the answers")
    for name in target.adapters:
        check_effect(client, name, [prompt(example) for example in examples])
        say(f"the adapter {name!r} changes what the base answers")


def _teacher(target: Deployment) -> Teacher | None:
    if "escalate" not in target.settings.on_invalid:
        return None
    if target.teacher is None:
        raise ConfigError("serve.on_invalid holds 'escalate', but there is no teacher section")
    if target.settings.keep and is_hosted(target.teacher) and not target.teacher.terms:
        raise ConfigError(
            "teacher.terms is not set: what the teacher answers in the student's place is kept to "
            "train on; say in your words why you may, or set serve.keep to false"
        )
    return create_teacher(target.teacher)


def _keeper(target: Deployment, teacher: Teacher | None) -> Keeper | None:
    settings, budget = target.settings, _budget(target)
    if not settings.keep:
        return None
    where = settings.store or str(target.run_dir / STORE)
    url = where if "://" in where else f"sqlite:///{Path(where).resolve()}"
    if settings.store is None and budget is None:
        return Keeper(lambda: TraceStore.open(url, create=True), teacher)
    store = TraceStore.open(url, create=True)  # whatever is wrong with it is said now
    return Keeper(lambda: store, teacher, budget)


def _budget(target: Deployment) -> Budget | None:
    settings, teacher = target.settings, target.teacher
    if settings.budget_usd is None or teacher is None or "escalate" not in settings.on_invalid:
        return None
    if not settings.keep:
        raise ConfigError(
            "serve.budget_usd is counted in the store of kept traces; set serve.keep to true"
        )
    refuse_without_price(teacher, f"serve.budget_usd is {settings.budget_usd:g}")
    return Budget(settings.budget_usd, teacher)


@contextmanager
def _logging(path: Path) -> Iterator[None]:
    """Let the gateway's log go to a file: a line for every unfit answer."""
    logger = logging.getLogger("distill.gateway")
    handler = RotatingFileHandler(path, maxBytes=2**24, backupCount=1, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
