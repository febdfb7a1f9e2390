"""The page at `/`, in a headless browser.

GENFAST_SCREENSHOTS=DIR keeps the pictures that are taken; docs/page.png is one of them.
"""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
from pathlib import Path

import pytest

from genfast.images import gallery
from running import running

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
if CHROMIUM is None:
    pytest.skip("no chromium here", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api")
Image = pytest.importorskip("PIL.Image")

DESK, PHONE = {"width": 1180, "height": 760}, {"width": 375, "height": 720}


@pytest.fixture(scope="module")
def served():
    with running(template=None, name="bundled") as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def gallery_served():
    pytest.importorskip("PIL")
    with running({"path": gallery.path("ddpm")}, name="digits") as server:
        yield server


@pytest.fixture
def visit(browser, served):
    """Opens the page; complaints, and requests to anybody else, fail the test."""
    wrong, contexts = [], []

    def complain(text):
        if "status of 400" not in text:  # a request that a test got wrong on purpose
            wrong.append(text)

    def visit(viewport=DESK, scheme="light", server=served, name="bundled"):
        context = browser.new_context(viewport=viewport, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: said.type == "error" and complain(said.text))
        page.on("request", lambda r: r.url.startswith((server.url, "data:")) or wrong.append(r.url))
        page.goto(server.url)
        sync_api.expect(page.locator("#model")).to_have_text(name)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not wrong


def ask(page, text="Where were you born?", most=60, seed=4):
    parameters = page.locator("#side")
    if parameters.is_hidden():
        page.click("#toggle")
        page.fill("#p-max_tokens", str(most))
        page.fill("#p-seed", str(seed))
        page.click("#toggle")
    else:
        page.fill("#p-max_tokens", str(most))
        page.fill("#p-seed", str(seed))
    page.fill("#message", text)
    page.press("#message", "Enter")


def finished(page, count=1):
    sync_api.expect(page.locator(".note button")).to_have_count(count, timeout=30_000)


def keep(page, name, tmp_path):
    folder = Path(os.environ.get("GENFAST_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png")


def test_a_chat(visit, served):
    page = visit()
    ask(page, most=40)
    finished(page)
    messages = [{"role": "user", "content": "Where were you born?"}]
    options = {"max_tokens": 40, "seed": 4, "stop": ["\nUser:"]}
    alone = served.model.chat(messages, **options)
    assert page.locator(".answer .t").count() == len(alone.token_ids)
    assert page.locator(".answer").first.text_content() == alone.text
    assert "40 tokens" in page.text_content(".turn .note")
    ask(page, "And then?", most=8)
    finished(page, 2)
    assert page.locator(".said").count() == 2


def test_tokens_tell_what_else_there_was(visit):
    page = visit()
    ask(page, most=12)
    finished(page)
    doubts = page.eval_on_selector_all(
        ".answer .t", "all => all.map(t => Number(t.style.getPropertyValue('--d')))"
    )
    assert all(0 <= doubt <= 1 for doubt in doubts) and len(set(doubts)) > 1
    page.hover(".answer .t >> nth=3")
    tip = page.locator("#tip")
    assert tip.is_visible()
    assert tip.locator("div").count() in (6, 7)
    assert tip.locator(".chosen").count() == 1
    shares = [float(text[:-1]) for text in re.findall(r"[\d.]+%", tip.inner_text())]
    assert shares == sorted(shares, reverse=True) and sum(shares) <= 103
    colours = "t => getComputedStyle(t).backgroundColor"
    tinted = page.locator(".answer .t").nth(3).evaluate(colours)
    page.uncheck("#tint")
    assert page.locator(".answer .t").nth(3).evaluate(colours) != tinted


# Pressed from out here, it may come after the last token: the model is faster than the driver.
ESCAPE_AT_THE_SECOND_TOKEN = """() => new MutationObserver((_, observer) => {
  if (document.querySelectorAll(".answer .t").length < 2) return;
  observer.disconnect();
  const escape = new KeyboardEvent("keydown", {key: "Escape", bubbles: true});
  document.activeElement.dispatchEvent(escape);
}).observe(document.body, {childList: true, subtree: true})"""


def test_the_keyboard_is_enough(visit, served):
    page = visit()
    page.evaluate(ESCAPE_AT_THE_SECOND_TOKEN)
    ask(page, most=900)
    finished(page)
    assert "stopped" in page.text_content(".turn .note")
    served.wait_idle()
    first = page.locator(".answer .t").first
    first.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement === document.querySelectorAll('.answer .t')[1]")
    sync_api.expect(page.locator("#tip")).to_be_visible()
    page.evaluate("document.querySelector('.answer').dispatchEvent(new Event('scroll'))")
    assert page.is_visible("#tip")  # the browser tells of scrolling to a token after its focus
    page.focus("#tab-chat")
    page.keyboard.press("ArrowRight")
    assert page.is_visible("#text") and page.is_hidden("#chat")
    page.focus("#prompt")
    page.fill("#p-max_tokens", "8")
    page.press("#prompt", "Control+Enter")
    page.wait_for_selector("#paper .note button")


def test_a_completion_goes_on(visit, served):
    page = visit()
    page.click("#tab-text")
    page.fill("#p-max_tokens", "12")
    page.fill("#p-seed", "5")
    page.fill("#prompt", "The sea was")
    page.click("#continue")
    page.wait_for_selector("#paper .note button")
    alone = served.model.generate("The sea was", max_tokens=12, seed=5)
    assert page.text_content("#sequel") == alone.text
    page.click("#keep")
    assert page.input_value("#prompt") == "The sea was" + alone.text
    assert page.text_content("#sequel") == ""


def test_errors_are_told(visit):
    page = visit()
    page.fill("#p-top_p", "7")
    ask(page)
    page.wait_for_selector(".error")
    assert "top_p" in page.text_content(".error")


def test_what_a_model_says_is_text(visit):
    """A message with markup in it stays a message."""
    page = visit()
    ask(page, "<img src=x onerror=alert(1)>", most=4)
    finished(page)
    assert page.text_content(".said") == "<img src=x onerror=alert(1)>"
    assert page.locator("#log img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("name", "viewport"), [("desk", DESK), ("phone", PHONE)])
def test_it_fits(visit, tmp_path, name, viewport, scheme):
    page = visit(viewport, scheme)
    ask(page, "What did you see from the window?", most=90, seed=7)
    finished(page)
    page.wait_for_timeout(1500)  # the figures come once a second
    page.hover(".answer .t >> nth=12")
    keep(page, f"chat-{name}-{scheme}", tmp_path)
    for tab in ("chat", "text"):
        page.click(f"#tab-{tab}")
        wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1], (tab, wide)
        controls = page.locator(f"#{tab} button.main")
        box = controls.bounding_box()
        assert box["x"] + box["width"] <= viewport["width"]
        assert box["y"] + box["height"] <= viewport["height"]
    page.fill("#prompt", "It was the best of times, it was the worst of times,")
    page.click("#continue")
    page.wait_for_selector("#paper .note button")
    keep(page, f"text-{name}-{scheme}", tmp_path)
    if page.is_hidden("#side"):
        page.click("#toggle")
        page.wait_for_timeout(1500)
        keep(page, f"side-{name}-{scheme}", tmp_path)


@pytest.mark.parametrize(("name", "viewport"), [("desk", DESK), ("phone", PHONE)])
def test_images_are_drawn(visit, gallery_served, tmp_path, name, viewport):
    page = visit(viewport, server=gallery_served, name="digits")
    assert page.is_hidden("#chat") and page.is_hidden("nav") and page.is_visible("#scene")
    if page.is_hidden("#side"):
        page.click("#toggle")
    page.fill("#p-n", "2")
    page.fill("#p-seed", "3")
    page.fill("#p-steps", "10")
    page.fill("#scene", "7")
    page.press("#scene", "Enter")
    page.wait_for_selector(".pictures img >> nth=1")
    made = gallery_served.model.generate("7", n=2, seed=3, steps=10).images
    for shown, image in zip(page.locator(".pictures img").all(), made, strict=True):
        data = base64.b64decode(shown.get_attribute("src").removeprefix("data:image/png;base64,"))
        assert Image.open(io.BytesIO(data)).tobytes() == image.tobytes()
    wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1]
    keep(page, f"images-{name}", tmp_path)
    page.fill("#scene", "elephant")
    page.press("#scene", "Enter")
    page.wait_for_selector(".error")
    assert "class" in page.text_content(".error")
    page.fill("#p-steps", "1000")  # some seconds
    page.fill("#p-n", "10")
    page.fill("#scene", "7")
    page.press("#scene", "Enter")
    page.keyboard.press("Escape")
    sync_api.expect(page.locator(".note").last).to_have_text("stopped")
