"""The report in a real browser: it fits a desk and a phone, opens, and asks nobody for anything."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise

import pytest

from distill.evaluate.runner import prepare
from distill.evaluate.summary import summarise
from distill.report import write_page
from distill.report.html import SIDE_BY_SIDE
from distill.results import MODELS, Latency, read_report, write_report
from distill.types import ToolMessage
from tests.unit.evaluate_world import answer, call, called, lamp, missing, no_tool, said, workspace

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


@pytest.fixture
def page_path(tmp_path):
    """A report with failures, long words, a loss curve and a learning curve."""
    cases = [*(lamp(n) for n in range(8)), missing(1), no_tool(1)]
    config = workspace(tmp_path, cases)
    evaluation = prepare(config)
    long = '{"room": "' + "corridor" * 30 + '", "level": 30}'
    for candidate in evaluation.candidates:
        for task in cases:
            arguments = long if candidate.name == "base" else '{"room": "hall", "level": 30}'
            result = ToolMessage(tool_call_id="c0", name="set_lamp", content='{"level": 30}')
            given = answer(task, called(call("set_lamp", arguments)), result, said("Done."))
            trace = given.trace.model_copy(update={"changes": {"/hall": 30}})
            evaluation._keep(candidate, task, trace)
    report = summarise(evaluation)
    slow = {"latency_s": Latency(p50=10.39, p95=10.89, p99=11.78)}
    models = {name: report.models["base"].model_copy(update=slow) for name in SIDE_BY_SIDE}
    write_report(config.results_dir, report.model_copy(update={"models": models}))
    rows = "".join(f'{{"step": {n}, "loss": {2 / n}}}\n' for n in range(1, 20))
    (config.run_dir / "metrics.jsonl").write_text(rows)
    share = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
    points = [
        {"rows": rows, "tokens": 99 * rows, "loss": 90 / rows, "accuracy": share}
        for rows in (100, 200, 400, 2000)
    ]
    (config.run_dir / "curve.json").write_text(json.dumps({"points": points}))
    return write_page(config.results_dir, config.run_dir)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_and_stands_alone(page_path, width, scheme):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            context = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme
            )
            page = context.new_page()
            requests: list[str] = []
            faults: list[str] = []
            page.on("request", lambda request: requests.append(request.url))
            page.on("console", lambda message: faults.append(message.text))
            page.goto(page_path.as_uri())
            assert requests == [page_path.as_uri()]
            assert faults == []
            assert page.evaluate("document.documentElement.scrollWidth") == width
            fits = "table => table.scrollWidth <= table.clientWidth"
            assert page.locator("#metrics .scroll").evaluate(fits), "three models, also on a phone"
            dots = page.locator("circle.student").first.bounding_box()
            assert dots is not None and 0 < dots["x"] < width
            labels = boxes(page.locator(".places").first.locator("i"))
            assert all(0 <= box["x"] and box["x"] + box["width"] <= width for box in labels)
            ends = [(box["x"], box["x"] + box["width"]) for box in labels]
            assert all(left < right for (_, left), (right, _) in pairwise(ends)), "labels apart"
            columns = {box["x"] for box in boxes(page.locator("details[open] .talk"))}
            assert len(columns) == (3 if width > 720 else 1), "side by side, or stacked"
            closed = page.locator("section details:not([open])").first
            closed.locator("summary").click()
            assert page.locator("section details[open]").count() == 2
            back = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (back == "rgb(255, 255, 255)") is (scheme == "light")
        finally:
            browser.close()


def test_five_models_fit_beside_what_is_measured(page_path, tmp_path):
    """With prompted and constrained columns no name is squeezed, and a phone scrolls the table."""
    from playwright.sync_api import sync_playwright

    report = read_report(page_path.parent)
    models = {name: report.models["base"] for name in MODELS}
    write_report(tmp_path, report.model_copy(update={"models": models}))
    wide = write_page(tmp_path, tmp_path / "none")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(wide.as_uri())
            for section in ("#metrics", "#failures"):
                first = page.locator(f"{section} tbody tr:first-child td:first-child")
                assert first.bounding_box()["width"] >= 220
                assert page.evaluate(
                    "s => { const t = document.querySelector(s + ' .scroll');"
                    " return t.scrollWidth <= t.clientWidth }",
                    section,
                )
            page.set_viewport_size({"width": 390, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") == 390
        finally:
            browser.close()


def boxes(locator):
    """Bounding boxes of all elements of a locator."""
    return [locator.nth(n).bounding_box() for n in range(locator.count())]
