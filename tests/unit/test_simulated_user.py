"""The simulated user: what it sees, when it is done, when it falls out of its role."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from collect_world import ScriptedTeacher, call, lamps, make_task, say, workspace, write_workspace

from distill.collect import make_plan
from distill.config import load_config
from distill.episode import run_episode
from distill.episode.user import AGAIN, BEGIN, heard, only_thanks
from distill.errors import ConfigError
from distill.filter.cases import case_of, cases
from distill.filter.subject import Rules, Subject
from distill.toolsets import load_toolset
from distill.toolsets.variants import derive
from distill.traces import Trace, UserEnd
from distill.types import (
    AssistantMessage,
    Expectation,
    ExpectedCall,
    Message,
    Outcome,
    SimulatedUser,
    StopReason,
    Task,
    ToolMessage,
    Turn,
    UserMessage,
    UserTurn,
)

ANNA = SimulatedUser(
    goal="Get the lamp to level three and then switch it off before the film begins tonight",
    persona="Anna, who types fast",
    facts={"level": "three", "lamp": "the red one", "film": "at eight"},
    max_turns=3,
)


def agent(messages: Sequence[Message]) -> Turn:
    """Call once in every turn of the user, then ask."""
    return say("Anything else?") if messages[-1].role == "tool" else call()


async def play(
    folder: Path, *said: str | Turn, user: SimulatedUser = ANNA
) -> tuple[Trace, ScriptedTeacher]:
    left = iter(said)
    player = ScriptedTeacher(lambda _: say(one) if isinstance(one := next(left), str) else one)
    trace = await run_episode(
        make_task(user=user),
        lamps(folder),
        ScriptedTeacher(agent),
        key="k",
        max_steps=20,
        tool_timeout_s=5,
        user=player,
    )
    return trace, player


def words(trace: Trace) -> list[str]:
    return [m.content for m in trace.messages if m.role == "user"]


async def test_it_goes_on_until_its_goal_is_reached(tmp_path: Path) -> None:
    trace, _ = await play(tmp_path, "User: To three", "The red one, please", "[DONE]")
    assert trace.outcome is Outcome.COMPLETED
    assert words(trace) == ["lamp to 0", "To three", "The red one, please"]
    assert [turn.content for turn in trace.task.turns] == words(trace)
    assert trace.task.user == ANNA
    assert trace.user.ended is UserEnd.GOAL and trace.user.faults == ()
    assert [trace.messages[n].content for n in trace.user.said] == words(trace)[1:]
    assert trace.user.teacher.model == "fake"
    assert [one.message for one in trace.user.calls] == [5, 9, 13]
    assert len(trace.turns) == 6


async def test_it_hears_words_and_sees_neither_tools_nor_results(tmp_path: Path) -> None:
    _, player = await play(tmp_path, "To three", "[DONE]")
    system, *conversation = player.seen[-1]
    assert "Anna, who types fast" in system.content and "- level: three" in system.content
    assert conversation == [
        UserMessage(content=BEGIN),
        AssistantMessage(content="lamp to 0"),
        UserMessage(content="Anything else?"),
        AssistantMessage(content="To three"),
        UserMessage(content="Anything else?"),
    ]
    assert "set_lamp" not in str(player.seen) and 'level": 3' not in str(player.seen)


def test_words_before_a_call_are_not_heard() -> None:
    messages = [
        UserMessage(content="Hi"),
        AssistantMessage(content="Let me see", tool_calls=call().message.tool_calls),
        ToolMessage(tool_call_id="c0", name="set_lamp", content="{}"),
        AssistantMessage(content="Done"),
    ]
    assert [m.content for m in heard(messages)] == [BEGIN, "Hi", "Done"]


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("How can I help you today?", UserEnd.ROLE_SWAP),
        ("Assistant: the lamp is on", UserEnd.ROLE_SWAP),
        ("I have updated the lamp for you", UserEnd.ROLE_SWAP),
        ('{"name": "set_lamp", "arguments": {}}', UserEnd.ROLE_SWAP),
        ("I want the lamp to level three and then switch it off before the film", UserEnd.LEAK),
        ("It is three, the red one, and it starts at eight", UserEnd.LEAK),
        ("Lamp to 0!", UserEnd.REPEATS),
        ("", UserEnd.EMPTY),
        (say("The red", stop=StopReason.LENGTH), UserEnd.EMPTY),
        (call(), UserEnd.EMPTY),
    ],
)
async def test_a_fault_is_told_once_and_ends_the_episode_when_repeated(
    tmp_path: Path, message: str | Turn, fault: UserEnd
) -> None:
    trace, player = await play(tmp_path / "a", message, "To three", "[DONE]")
    assert trace.outcome is Outcome.COMPLETED
    assert words(trace) == ["lamp to 0", "To three"]
    assert [one.split(":")[0] for one in trace.user.faults] == [fault]
    assert player.seen[1][-1].content.startswith(AGAIN.split("{")[0])
    trace, _ = await play(tmp_path / "b", "To three", message, message)
    assert trace.outcome is Outcome.USER_FAILED
    assert trace.user.ended is fault
    assert words(trace) == ["lamp to 0", "To three"]
    assert trace.messages[-1].role == "assistant"


async def test_thanks_end_it_and_are_not_answered(tmp_path: Path) -> None:
    trace, _ = await play(tmp_path, "To three", "Perfect, thank you so much. Bye!")
    assert trace.outcome is Outcome.COMPLETED
    assert trace.user.ended is UserEnd.THANKS
    assert words(trace) == ["lamp to 0", "To three"]


async def test_a_last_wish_beside_the_mark_is_still_said(tmp_path: Path) -> None:
    trace, _ = await play(tmp_path, "Then switch it off. [DONE]")
    assert words(trace) == ["lamp to 0", "Then switch it off."]
    assert trace.user.ended is UserEnd.GOAL
    trace, _ = await play(tmp_path / "b", "Thanks! [DONE]")
    assert words(trace) == ["lamp to 0"]


async def test_the_most_it_may_say_is_a_limit(tmp_path: Path) -> None:
    trace, _ = await play(tmp_path, "one", "two", "four", "five")
    assert trace.outcome is Outcome.TURN_LIMIT
    assert trace.user.ended is UserEnd.MAX_TURNS
    assert words(trace)[1:] == ["one", "two", "four"]


@pytest.mark.parametrize(
    ("text", "is_thanks"),
    [
        ("Thanks!", True),
        ("Great, thank you very much for your help, bye", True),
        ("Thanks, and the hall?", False),
        ("Thanks, now the kitchen", False),
        ("Great", False),
        ("", False),
    ],
)
def test_what_is_thanks_and_nothing_else(text: str, is_thanks: bool) -> None:
    assert only_thanks(text) is is_thanks


async def test_without_a_model_only_the_turns_of_the_task_are_played(tmp_path: Path) -> None:
    trace = await run_episode(
        make_task(user=ANNA),
        lamps(tmp_path),
        ScriptedTeacher(agent),
        key="k",
        max_steps=20,
        tool_timeout_s=5,
    )
    assert words(trace) == ["lamp to 0"] and trace.user is None


# --- what the stages make of it ---------------------------------------------------------------


async def test_a_case_is_the_conversation_as_it_was(tmp_path: Path) -> None:
    trace, _ = await play(tmp_path, "To three", "The red one", "[DONE]")
    toolset = load_toolset(tmp_path / "tools" / "lamps").toolset
    case = case_of(Subject(trace, Rules(toolset=toolset)))
    assert case.user is None and case.expects
    assert [turn.content for turn in case.turns] == words(trace)
    assert [len(turn.expectation.calls) for turn in case.turns] == [1, 1, 1]
    asked = make_task(user=ANNA)
    assert list(cases([asked], {asked.id: (trace.task, case)})) == [case]
    changed = make_task(user=ANNA.model_copy(update={"goal": "Another"}))
    assert list(cases([changed], {asked.id: (trace.task, case)})) == []


def test_a_task_with_a_user_cannot_say_what_is_right_and_has_no_variants(tmp_path: Path) -> None:
    calls = (ExpectedCall(name="set_lamp", arguments={"level": 3}),)
    turn = UserTurn(content="Lamp to 3", expectation=Expectation(action="call", calls=calls))
    task = make_task().model_copy(update={"turns": (turn,)})
    toolset = lamps(tmp_path).toolset
    assert task.expects and list(derive([task], toolset, {"fails_once": 1}, 0))
    task = task.model_copy(update={"user": ANNA})
    assert not task.expects and not list(derive([task], toolset, {"fails_once": 1}, 0))


PLAYER = {"provider": "openai_chat", "model": "player", "base_url": "http://127.0.0.1:9/v1"}


def with_user(folder: Path) -> None:
    path = folder / "tools" / "lamps" / "tasks.jsonl"
    rows = [Task.model_validate_json(line) for line in path.read_text().splitlines()]
    first = rows[0].model_copy(update={"user": ANNA})
    lines = [task.model_dump_json() for task in (first, *rows[1:])]
    path.write_text("\n".join(lines))


def test_the_model_that_plays_is_part_of_what_an_episode_is(tmp_path: Path) -> None:
    config = workspace(tmp_path)
    before = make_plan(config)
    with_user(tmp_path)
    with pytest.raises(ConfigError, match=r"'t0000' has a simulated user, and collect\.user is"):
        make_plan(config)
    path = tmp_path / "configs" / "lamps.yaml"
    one = make_plan(load_config(path, [f"collect.user={PLAYER}"]))
    other = make_plan(load_config(path, [f"collect.user={PLAYER | {'model': 'else'}}"]))
    keys = [[episode.key for episode in plan.episodes] for plan in (before, one, other)]
    assert keys[0][1:] == keys[1][1:] == keys[2][1:]
    assert len({keys[0][0], keys[1][0], keys[2][0]}) == 3
    assert one.settings["collect.user"]["model"] == "player"
    assert "collect.user" not in before.settings


def test_its_price_and_terms_are_asked_for(tmp_path: Path) -> None:
    path = write_workspace(tmp_path)
    budget = ["collect.budget_usd=1", "teacher.price={input: 1, output: 1}"]
    with pytest.raises(ConfigError, match=r"set collect\.user\.price"):
        make_plan(load_config(path, [*budget, f"collect.user={PLAYER}"]))
    hosted = {"provider": "anthropic", "model": "claude-haiku-4-5"}
    with pytest.raises(ConfigError, match=r"collect\.user\.terms is not set"):
        make_plan(load_config(path, [f"collect.user={hosted}"]))
