from __future__ import annotations

from pathlib import Path

import pytest
from collect_world import workspace, write_workspace

from distill.collect import make_plan
from distill.config import load_config
from distill.errors import ConfigError

HOSTED = {"provider": "anthropic", "model": "claude-haiku-4-5"}


def test_every_task_is_an_episode_per_sample(tmp_path: Path):
    plan = make_plan(workspace(tmp_path, 3, collect={"samples": 2}))
    assert [(e.task.id, e.sample) for e in plan.episodes] == [
        (f"t000{task}", sample) for task in range(3) for sample in range(2)
    ]
    assert len({e.key for e in plan.episodes}) == 6


def test_a_limited_plan_is_the_beginning_of_the_whole_one(tmp_path: Path):
    config = workspace(tmp_path, 5)
    assert make_plan(config, 2).episodes == make_plan(config).episodes[:2]


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("teacher.base_url=http://10.0.0.1/v1", True),
        ("teacher.api_key_env=OTHER", True),
        ("teacher.timeout_s=5", True),
        ("teacher.terms=mine", True),
        ("collect.concurrency=3", True),
        ("teacher.model=other", False),
        ("teacher.temperature=0.5", False),
        ("teacher.max_tokens=100", False),
        ("teacher.extra.seed=1", False),
    ],
)
def test_how_a_teacher_is_reached_does_not_change_what_it_would_say(
    tmp_path: Path, override: str, same: bool
):
    path = write_workspace(tmp_path)
    before, after = make_plan(load_config(path)), make_plan(load_config(path, [override]))
    assert (before.episodes == after.episodes) is same
    assert (before.settings == after.settings) is same
    assert (before.digest == after.digest) is same


def test_the_settings_name_what_a_changed_run_is_refused_for(tmp_path: Path):
    settings = make_plan(workspace(tmp_path)).settings
    assert {"toolset.hash", "teacher.model", "teacher.extra", "collect.max_steps"} <= set(settings)
    assert "api_key_env" not in str(settings)


def test_a_budget_without_a_price_is_refused_by_name(tmp_path: Path):
    path = write_workspace(tmp_path, collect={"budget_usd": 5})
    with pytest.raises(ConfigError, match=r"budget_usd is 5.*'fake'.*teacher\.price"):
        make_plan(load_config(path))
    priced = load_config(path, ["teacher.price={input: 1, output: 2}"])
    assert make_plan(priced).episodes


def test_a_hosted_teacher_needs_terms(tmp_path: Path):
    path = write_workspace(tmp_path, teacher=HOSTED)
    with pytest.raises(ConfigError, match=r"teacher\.terms"):
        make_plan(load_config(path))
    assert make_plan(load_config(path, ["teacher.terms=agreed in writing"])).episodes


def test_batches_and_a_live_model_in_the_episode_are_refused_together(tmp_path: Path):
    path = write_workspace(tmp_path, collect={"batch": True})
    assert make_plan(load_config(path)).episodes
    model = "{provider: openai_chat, model: other, base_url: 'http://127.0.0.1:9/v1'}"
    with pytest.raises(ConfigError, match=r"collect\.batch is set together with collect\.user"):
        make_plan(load_config(path, [f"collect.user={model}"]))
