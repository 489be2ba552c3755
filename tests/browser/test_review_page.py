"""A person reviews in a real browser, by keyboard alone, and `filter` applies what was decided."""

from __future__ import annotations

import shutil
import threading
from contextlib import contextmanager

import pytest
import uvicorn

from distill.dataset import read_examples, read_rows
from distill.filter import build_dataset
from distill.review import make_app
from distill.traces import TraceStore
from distill.traces.reviews import ReviewStore
from tests.unit.review_world import copied, disagreeing, number_of, open_desk, poison

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TOKEN = "t0ken"
ROOMS = ("kitchen", "lounge", "bedroom", "office", "hall")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


@pytest.fixture
def config(tmp_path):
    return copied(tmp_path)


@pytest.fixture
def desk(config):
    with TraceStore.open(config.store_url) as store:
        yield open_desk(config, store)


@contextmanager
def served(desk):
    """The page's address, while a real server shows it."""
    server = uvicorn.Server(
        uvicorn.Config(make_app(desk, TOKEN), port=0, log_level="warning", lifespan="off")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/{TOKEN}/"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def browsing(url, width=1280, scheme="light", **options):
    """A page at `url`; whatever it complains about, or asks of others, fails the test."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            context = browser.new_context(
                viewport={"width": width, "height": 860}, color_scheme=scheme, **options
            )
            page, faults = context.new_page(), []
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("console", lambda message: faults.append(message.text))
            page.on("dialog", lambda dialog: faults.append(dialog.message))
            page.on(
                "request", lambda r: r.url.startswith(url.split("#")[0]) or faults.append(r.url)
            )
            page.goto(url)
            page.wait_for_selector("article")
            yield page
            assert faults == []
        finally:
            browser.close()


def shows(page, number):
    """Wait until row `number`, from 0, is on the page, and keys are heeded."""
    page.wait_for_function(
        "n => location.hash === `#${n + 1}` && !document.querySelector('[aria-busy]')", arg=number
    )


def keys(page, *names):
    for name in names:
        page.keyboard.press(name)


def texts(config, name):
    return {e.meta["key"]: e for e in read_examples(config.dataset_dir / f"{name}.jsonl")}


def test_a_review_by_keyboard_and_the_data_set_after_it(config, desk):
    def lamp(trace):
        return bool(trace.calls) and not trace.task.faults

    with TraceStore.open(config.store_url) as store:
        number = number_of(desk, store, lamp)
    desk.rows.insert(2, desk.rows.pop(number))  # third, to be fixed
    with served(desk) as url, browsing(url) as page:
        say = page.locator("#say")
        keys(page, "a")
        shows(page, 1)
        assert say.text_content() == "Approved. U undoes it."

        keys(page, "r", "5", "Tab")
        page.keyboard.type("it says so twice")
        keys(page, "Enter")
        shows(page, 2)
        assert page.locator("#rate").text_content() == "50.0%"

        fix(page, say)
        shows(page, 3)
        keys(page, "a")
        shows(page, 4)
        keys(page, "u")
        shows(page, 3)
        assert say.text_content() == "Undone."
        assert page.locator("#done").text_content() == "3"
        for number in range(3, 12):
            shows(page, number)
            keys(page, "a")
        page.wait_for_selector("text=All 12 reviewed")
        assert "distill filter" in page.locator(".command").text_content()
        assert page.locator(".tally dd").all_text_contents() == ["10", "1", "1"]
        assert page.locator("#interval").text_content().startswith("2 of 12 wrong, 95%: 4.7%")
        keys(page, "k")
        shows(page, 11)
        assert "Approved by ann" in page.locator(".ruled").text_content()
    approved, rejected, fixed = (row.key for row in desk.rows[:3])
    build_dataset(config)
    rows = texts(config, "train") | texts(config, "validation")
    assert approved in rows and rejected not in rows
    assert rows[fixed].messages[-1].content == "All is done now."
    ledger = {row["key"]: row for _, row in read_rows(config.dataset_dir / "rejects.jsonl")}
    assert ledger[rejected]["code"] == "wrong_answer"
    assert ledger[rejected]["evidence"] == "it says so twice (by ann)"


def fix(page, say):
    """Spoil the first call, see it refused, put it right, and mend the last words instead."""
    keys(page, "e")
    area = page.locator("textarea.edit").first
    save = page.locator("[data-do=save]")
    assert area.evaluate("area => area === document.activeElement") and save.is_disabled()
    right = area.input_value()
    area.fill('{"nonsense": true}')
    page.wait_for_selector(".problems li")
    assert "nonsense: is not a parameter of the tool" in page.locator(".problems").inner_text()
    assert area.get_attribute("aria-invalid") == "true" and save.is_disabled()
    keys(page, "Control+Enter")
    assert page.url.endswith("#3"), "an invalid fix cannot be saved"
    area.fill(right)
    page.locator("#say", has_text="Nothing is changed yet").wait_for()
    assert page.locator(".problems li").count() == 0
    page.locator(".words textarea.edit").last.fill("All is done now.")
    page.wait_for_selector("[data-do=save]:enabled")
    assert say.text_content() == "Valid. The filter keeps it so."
    keys(page, "Control+Enter")


def test_a_changed_call_shows_what_the_tool_says_now(config, desk):
    with TraceStore.open(config.store_url) as store:
        number = number_of(
            desk, store, lambda t: t.calls and t.calls[0].name in ("find_device", "read_sensor")
        )
    with served(desk) as url, browsing(f"{url}#{number + 1}") as page:
        shows(page, number)
        keys(page, "e")
        area = page.locator("textarea.edit").first
        before = page.locator(".result pre").first.text_content()
        here = next(room for room in ROOMS if f'"{room}"' in area.input_value())
        elsewhere = next(room for room in ROOMS if room != here)
        area.fill(area.input_value().replace(here, elsewhere))
        page.locator("#say", has_text="Valid, yet the filter would drop it").wait_for()
        assert page.locator(".result.new").count() >= 1
        assert page.locator(".result pre").first.text_content() != before
        keys(page, "Escape")
        page.wait_for_selector("#fixing", state="hidden")
        assert page.locator(".result pre").first.text_content() == before
    assert desk.status().audit.reviewed == 0


def test_what_a_tool_returned_cannot_run(config, desk):
    text = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
    number = next(n for n in range(12) if desk.view(n).entries[1].calls)
    poison(config, desk.rows[number].key, text)
    with served(desk) as url, browsing(f"{url}#{number + 1}") as page:
        shows(page, number)
        assert page.locator(".result pre").first.text_content() == text
        keys(page, "t", "e")
        page.locator("textarea.edit").last.fill(text + "!")
        page.wait_for_timeout(500)
        keys(page, "Escape")
        assert page.evaluate("window.hacked") is None
        assert page.locator("#trace script, #trace img, aside script, aside img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_keeps_still_and_can_be_read(desk, width, scheme):
    with served(desk) as url, browsing(url, width, scheme) as page:
        places = set()
        for number in range(12):
            shows(page, number)
            assert page.evaluate("document.documentElement.scrollWidth") == width
            box = page.locator("[data-do=approve]").bounding_box()
            title = page.locator(".head h2").bounding_box()
            places.add((box["x"], box["y"], box["width"], title["y"]))
            assert box["x"] >= 0 and box["x"] + box["width"] <= width
            assert page.evaluate(CONTRAST) == []
            keys(page, "j")
        assert len(places) == 1, "the bar and the title stay where they are"
        page.wait_for_selector("article.end")
        keys(page, "k")
        shows(page, 11)
        keys(page, "?")
        assert page.locator("#help").is_visible()
        assert page.evaluate(CONTRAST) == []
        keys(page, "Escape", "r", "2")
        assert page.evaluate(CONTRAST) == []
        sheet = page.locator("#reject").bounding_box()
        assert sheet["x"] >= 0 and sheet["x"] + sheet["width"] <= width and sheet["y"] >= 0
        back = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (back == "rgb(255, 255, 255)") is (scheme == "light")


CONTRAST = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
  const behind = (node) => {
    for (let one = node; one; one = one.parentElement) {
      const color = rgb(getComputedStyle(one).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((c) => c.nodeType === 3 && c.textContent.trim());
    if (!own || !node.checkVisibility() || node.closest(":disabled, svg")) continue;
    const [a, b] = [light(rgb(getComputedStyle(node).color)), light(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${node.tagName} ${node.textContent}`);
  }
  return found;
}"""
"""Texts whose contrast with what lies behind them is below 4.5 : 1."""


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_rows_whose_samples_disagree_come_first_and_are_told_apart(tmp_path, width, scheme):
    config = disagreeing(tmp_path)
    with TraceStore.open(config.store_url) as store:
        desk = open_desk(config, store)
        with served(desk) as url, browsing(url, width, scheme) as page:
            tag = page.locator(".head h2 .tag")
            assert tag.text_content() == "67% of samples did this"
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert page.evaluate(CONTRAST) == []
            keys(page, "r", "1", "Enter")
            shows(page, 1)
            assert page.locator("#rate").text_content() == "\u2013", "nothing known of the others"
            assert "First the rows whose samples disagree" in page.text_content("#outlook")
            keys(page, "a")
            shows(page, 2)
            keys(page, "a")
            shows(page, 3)
            assert tag.count() == 0
            keys(page, "a")
            shows(page, 4)
            rows = desk.status().audit.disputed.rows
            told = f"Where samples disagree: 1 of 3 wrong, {rows} rows in all."
            assert page.text_content("#disputed").startswith(told)
            rate = rows / desk.population / 3
            assert page.text_content("#rate") == f"{100 * rate:.1f}%"
            assert page.evaluate(CONTRAST) == []


def test_every_control_has_a_name_and_takes_the_focus(desk):
    with served(desk) as url, browsing(url) as page:
        names = page.evaluate(
            "[...document.querySelectorAll('button, input, textarea, summary')].map((node) =>"
            " node.ariaLabel || node.closest('label')?.textContent || node.textContent.trim())"
        )
        assert len(names) > 15 and all(names)
        assert page.evaluate("document.activeElement.id") == "trace"
        seen = set()
        for _ in range(12):
            keys(page, "Tab")
            if page.evaluate("document.activeElement === document.body"):
                break
            seen.add(page.evaluate("document.activeElement.dataset.do"))
            ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert ring in ("solid", "auto")
        assert {"undo", "fix", "reject", "approve", "next"} <= seen


def test_two_people_at_once(config, desk):
    with TraceStore.open(config.store_url) as store, served(desk) as url:
        ben = open_desk(config, store, "ben")
        with browsing(url) as page:
            shows(page, 0)
            page.wait_for_load_state("networkidle")
            assert not ben.look(0), "ann has it open"
            ben.look(1)
            ben.decide(2, "approve")
            keys(page, "a")
            shows(page, 3)
            keys(page, "k")
            shows(page, 2)
            assert "Approved by ben" in page.locator(".ruled").text_content()
            keys(page, "r")
            assert page.locator("#say").text_content() == "ben has this one."
            assert page.locator("[data-do=approve]").is_disabled()
    with TraceStore.open(config.store_url) as store:
        found = ReviewStore(store).decisions().values()
        assert sorted(review.reviewer for review in found) == ["ann", "ben"]
