"""A judge over real HTTP: calibrated, used or refused, asked once, paid from the one ledger."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from judge_world import (
    Coin,
    Competent,
    Garbage,
    Mind,
    No,
    Yes,
    again,
    judging,
    make_world,
    opinion,
)
from typer.testing import CliRunner

from distill.cli.main import app
from distill.collect import estimate, make_plan
from distill.config import Config
from distill.dataset import read_rows
from distill.errors import ConfigError, DistillError
from distill.filter import build_dataset, explain, reverify
from distill.judge import JudgingStopped
from distill.preflight import Level, inspect
from distill.traces import TraceStore
from distill.traces.reviews import Decision, Review, ReviewStore

FILES = ("train.jsonl", "validation.jsonl", "pairs.jsonl", "cases.jsonl", "rejects.jsonl")


def files(config: Config) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in config.dataset_dir.iterdir()}


def rejects(config: Config) -> dict[str, str]:
    rows = (row for _, row in read_rows(config.dataset_dir / "rejects.jsonl"))
    return {row["task"]: f"{row['stage']}/{row['code']}" for row in rows}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The data set without a judge."""
    config = make_world(tmp_path_factory.mktemp("plain"), None)
    build_dataset(config)
    return files(config)


def test_a_competent_judge_finds_what_the_checks_cannot(
    tmp_path: Path, plain: dict[str, bytes]
) -> None:
    mind = Competent()
    with judging(mind) as url:
        config = make_world(tmp_path, url)
        report = build_dataset(config)
        asked, written = len(mind.asked), files(config)
        build_dataset(config)
        assert (len(mind.asked), files(config)) == (asked, written)
        assert reverify(config) == []

    found, judge = rejects(config), report.info.judge
    assert judge is not None and judge.calibration.passed
    told_wrongly = {f"call-{n}" for n in range(3, 60, 15)}
    dropped = {task for task, code in found.items() if code.startswith("judge/")}
    assert told_wrongly <= dropped
    assert len(dropped) < len(told_wrongly) + 8  # it errs once in forty
    assert judge.wrong == len(dropped)
    assert (judge.judged, judge.unreadable) == (80, 0)

    calibration = judge.calibration
    assert (calibration.planted, calibration.right) == (40, 40)
    assert set(calibration.kinds) == {
        "asked_instead_of_calling",
        "called_instead_of_abstaining",
        "called_instead_of_asking",
        "wrong_answer",
        "wrong_tool",
        "wrong_value",
    }
    card = written["README.md"].decode()
    assert "## Judge" in card and "judge-1 (openai_chat): used (95% intervals of precision" in card
    assert "right answers faulted" in card
    wrong = next(one for one in explain(config, "call-18"))
    assert (wrong.fate, wrong.failure) == ("dropped", wrong.verdicts[-1])
    assert (wrong.verdicts[-1].stage, wrong.verdicts[-1].code) == ("judge", "wrong_answer")


def test_calls_to_a_judge_are_in_the_ledger_and_no_part_of_an_episode(tmp_path: Path) -> None:
    mind = Competent()
    with judging(mind) as url:
        config = make_world(tmp_path, url)
        free = again(config, "collect.budget_usd=null")
        before = estimate(free, make_plan(free))
        build_dataset(config)
    with TraceStore.open(config.store_url) as store:
        lines, money = list(store.ledger()), store.money()
    assert len(lines) == len(mind.asked)
    assert all(line.judging and line.status == "settled" for line in lines)
    assert money.spent_usd == pytest.approx(sum(line.cost_usd or 0 for line in lines))
    assert money.spent_usd > 0 and money.reserved_usd == 0
    assert estimate(free, make_plan(free)) == before


@pytest.mark.parametrize("kind", [Yes, No, Coin, Garbage])
def test_a_useless_judge_is_refused(
    tmp_path: Path, plain: dict[str, bytes], kind: type[Mind]
) -> None:
    mind = kind()
    with judging(mind) as url:
        config = make_world(tmp_path, url)
        report = build_dataset(config)
        asked = len(mind.asked)
        build_dataset(config)
        assert len(mind.asked) == asked
    assert report.info.judge is not None and report.info.judge.judged == 0
    written = files(config)
    assert {name: written[name] for name in FILES} == {name: plain[name] for name in FILES}
    assert any("was not used" in warning for warning in report.warnings)
    assert "It judged nothing in this data set" in written["README.md"].decode()


def test_an_answer_that_cannot_be_read_is_asked_for_once_more(tmp_path: Path) -> None:
    class Hasty(Competent):
        def answer(self, messages, offered):
            answer = super().answer(messages, offered)
            return answer if len(messages) > 2 else answer.model_copy(update={"content": "Sure!"})

    mind = Hasty()
    with judging(mind) as url:
        report = build_dataset(make_world(tmp_path, url))
    assert report.info.judge is not None
    assert (report.info.judge.calibration.unreadable, report.info.judge.unreadable) == (0, 0)
    assert "no JSON object" in mind.asked[-1][-1].content


def test_the_budget_stops_judging_and_nothing_is_asked_twice(tmp_path: Path) -> None:
    mind = Competent()
    with judging(mind) as url:
        config = make_world(tmp_path, url, budget=0.05)
        with pytest.raises(JudgingStopped, match=r"budget of \$0.05 .* raise it and run again"):
            build_dataset(config)
        assert not config.dataset_dir.exists()
        asked = len(mind.asked)
        with TraceStore.open(config.store_url) as store:
            money = store.money()
        assert 0 < money.spent_usd <= 0.05 and money.reserved_usd == 0
        build_dataset(again(config, "collect.budget_usd=5"))
        with TraceStore.open(config.store_url) as store:
            assert len(list(store.ledger())) == len(mind.asked)
    conversations = [messages[1].content for messages in mind.asked]
    assert 0 < asked < len(conversations) == len(set(conversations))


def test_a_budget_needs_a_price(tmp_path: Path) -> None:
    config = make_world(tmp_path, "http://127.0.0.1:1/v1")
    with pytest.raises(ConfigError, match="no price is known for the judge 'judge-1'"):
        build_dataset(again(config, "filter.judge.price=null"))


def test_a_judge_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("distill.teachers.pacing.TRANSIENT_ATTEMPTS", 1)
    config = make_world(tmp_path, "http://127.0.0.1:1/v1")
    with pytest.raises(DistillError, match="cannot reach") as error:
        build_dataset(config)
    assert "\n" not in str(error.value)


def test_a_person_is_not_overruled(tmp_path: Path) -> None:
    with judging(Competent()) as url:
        config = make_world(tmp_path, url)
        with TraceStore.open(config.store_url) as store:
            reviews = ReviewStore(store)
            reviews.create()
            reviews.decide(Review(key="key-call-3", reviewer="ann", verdict=Decision.APPROVE))
        build_dataset(config)
    found = rejects(config)
    assert "call-3" not in found and found["call-18"] == "judge/wrong_answer"


def test_only_tasks_without_expectations(tmp_path: Path) -> None:
    mind = Competent()
    with judging(mind) as url:
        config = make_world(tmp_path, url)
        report = build_dataset(again(config, "filter.judge.scope=unexpected"))
    assert report.info.judge is not None and report.info.judge.judged == 0
    assert len(mind.asked) == 80  # the calibration


def test_what_it_costs_is_said_before(tmp_path: Path) -> None:
    with judging(Competent()) as url:
        config = make_world(tmp_path, url)
        told = CliRunner().invoke(app, ["filter", str(config.source), "--dry-run"]).output
        findings = [f for f in inspect(config) if f.area == "judge"]
        dry_run = ["collect", str(config.source), "--dry-run", "--set", "collect.budget_usd=null"]
        collecting = CliRunner().invoke(app, dry_run).output
        report = build_dataset(config)
        after = CliRunner().invoke(app, ["filter", str(config.source), "--dry-run"]).output
    with TraceStore.open(config.store_url) as store:
        spent = store.money().spent_usd
    calls, low, high = _estimate(told)
    assert calls == 160 and low < spent < high
    assert _estimate(after)[0] == 0
    assert [f.level for f in findings] == [Level.OK, Level.OK]
    assert "at most 160 calls, $" in findings[1].text
    assert "judge             at most 160 calls more, $" in collecting
    assert report.info.judge is not None


def _estimate(text: str) -> tuple[int, float, float]:
    rows = [line.split() for line in text.splitlines() if " calls " in line]
    return (
        sum(int(row[1].replace(",", "")) for row in rows),
        sum(float(row[-3].strip("$")) for row in rows),
        sum(float(row[-1].strip("$")) for row in rows),
    )


def test_ctrl_c_lets_calls_end_and_keeps_them(tmp_path: Path) -> None:
    interrupted = threading.Event()

    class Held(Competent):
        """Leaves a few calls without an answer until Ctrl-C was pressed."""

        def answer(self, messages, offered):
            if len(self.asked) >= 8:
                interrupted.wait(60)
            return super().answer(messages, offered)

    mind = Held()
    with judging(mind) as url:
        config = make_world(tmp_path, url)
        command = [sys.executable, "-m", "distill", "filter", str(config.source)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        while len(mind.asked) < 8:
            time.sleep(0.05)
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        interrupted.set()
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "is kept" in out
    with TraceStore.open(config.store_url) as store:
        lines, money = list(store.ledger()), store.money()
    assert len(lines) == len(mind.asked) < 40
    assert {line.status for line in lines} == {"settled"} and money.reserved_usd == 0


def test_an_opinion_is_held_to_its_form() -> None:
    from distill.judge import read_opinion

    assert read_opinion("So: " + opinion("wrong")).fault == ("wrong_call", "because")
    assert read_opinion(opinion()).fault is None
    silent = json.loads(opinion("wrong"))
    silent["calls"]["reason"] = " "
    for text in ("", "yes", "{}", opinion("maybe"), json.dumps(silent), opinion()[:-2]):
        with pytest.raises(ValueError):
            read_opinion(text)
