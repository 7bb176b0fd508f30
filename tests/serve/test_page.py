"""The page in a real browser, where there is one; what it is made of, everywhere."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from pinxit.pictures import write_png
from pinxit.serve.page import WEB
from tests.serve.running import Running

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
browsing = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium here")


def test_the_page_needs_nothing_from_elsewhere(server: Running) -> None:
    answer = server.get("/")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    for path in WEB.iterdir():
        text = path.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"(https?:)?//[a-z]", re.sub(r"(^|\s)// .*", "", text)), path.name
        assert (
            "innerHTML" not in text and "eval(" not in text and " style=" not in text and " on" + "click=" not in text
        )
        assert server.get(f"/web/{path.name}").status_code == 200
    assert not re.search(r'(src|href)="/', answer.text), "addresses are relative: a proxy may put us anywhere"
    assert server.get("/web/page.py").status_code == 404 == server.get("/web/..%2fpage.py").status_code


@pytest.mark.parametrize("path", ["/", "/web/main.js"])
def test_what_a_browser_has_is_not_sent_again(server: Running, path: str) -> None:
    tag = server.get(path).headers["etag"]
    for known in (tag, f'"other", W/{tag}'):
        again = server.get(path, headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert again.headers["cache-control"] == "no-cache"
    assert server.get(path, headers={"if-none-match": '"other"'}).status_code == 200


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def page(browser: Any, server: Running) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    found, wrong = context.new_page(), []
    found.on("pageerror", lambda error: wrong.append(str(error)))
    found.set_default_timeout(120_000)
    found.goto(server.url)
    found.wait_for_selector("#recipes button")
    yield found
    context.close()
    assert not wrong


def paint(page: Any, text: str, candidates: int = 4) -> Any:
    page.locator("#candidates").fill(str(candidates))
    page.fill("#prompt", text)
    page.keyboard.press("Enter")
    card = page.locator(".job", has=page.locator("h2", has_text=text)).first
    card.locator(".tile[data-picture]").first.wait_for()
    return card


def becomes_true(page: Any, expression: str) -> None:
    """Asked again and again from here: `wait_for_function` asks by eval, which the page forbids."""
    for _ in range(1200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"never true: {expression[:100]}")


@browsing
def test_paint_look_and_use_by_keyboard_alone(page: Any) -> None:
    card = paint(page, "a red square by keys")
    assert card.locator(".tile[data-picture]").count() == 4
    page.fill("#prompt", "something else")
    card.locator(".tile").first.focus()
    page.keyboard.press("Enter")
    assert "E edit" in (keys := page.locator(".keys").inner_text()) and "variations" not in keys  # nobody here varies
    first = page.get_attribute("#big", "src")
    page.keyboard.press("ArrowRight")
    assert page.get_attribute("#big", "src") != first
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("s")
    card.locator(".star").wait_for()
    assert page.input_value("#prompt") == "something else"  # looking changes nothing
    page.get_by_role("button", name="Use prompt").click()
    page.keyboard.press("Escape")
    assert page.input_value("#prompt") == "a red square by keys"


@browsing
def test_work_and_form_survive_a_reload(page: Any) -> None:
    page.fill("#seed", "77")
    page.locator("#candidates").fill("64")
    page.fill("#prompt", "a long job that is reloaded")
    page.click("#go")
    page.locator(".job h2", has_text="reloaded").wait_for()
    page.reload()
    page.wait_for_selector("#recipes button")
    assert page.input_value("#prompt") == "a long job that is reloaded" and page.input_value("#seed") == "77"
    card = page.locator(".job", has=page.locator("h2", has_text="reloaded")).first
    card.locator(".tile[data-picture]").first.wait_for()
    assert card.locator(".tile[data-picture]").count() == 64


@browsing
def test_a_part_is_painted_anew_with_a_brush(page: Any) -> None:
    card = paint(page, "to be edited", 1)
    card.locator(".tile").first.click()
    page.keyboard.press("e")
    box = page.locator("#canvas").bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 250, box["y"] + 60, steps=4)
    page.mouse.up()
    page.fill("#edit-prompt", "edited now")
    page.click("#edit-go")
    edited = page.locator(".job", has=page.locator("h2", has_text="edited now")).first
    edited.locator(".tile[data-picture]").first.wait_for()
    assert "edited" in edited.locator(".about").first.inner_text()


@browsing
def test_variations_are_asked_of_a_painter_that_varies(page: Any) -> None:
    def with_another(route: Any) -> None:
        answer = route.fetch()
        told = answer.json()
        told["data"].insert(1, told["data"][0] | {"id": "unclip", "can": ["paint", "vary"]})
        route.fulfill(response=answer, json=told)

    page.route("**/api/about", with_another)
    page.reload()
    page.wait_for_selector("#recipes button[data-id=unclip]")
    paint(page, "to be varied", 1).locator(".tile").first.click()
    with page.expect_request(lambda request: request.method == "POST" and request.url.endswith("/api/jobs")) as found:
        page.keyboard.press("v")
    assert found.value.post_data_json["recipes"] == ["unclip"]


@browsing
def test_two_pictures_are_blended(page: Any) -> None:
    def with_another(route: Any) -> None:
        answer = route.fetch()
        told = answer.json()
        told["data"].insert(1, told["data"][0] | {"id": "unclip", "can": ["vary", "blend"]})
        route.fulfill(response=answer, json=told)

    page.route("**/api/about", with_another)
    page.reload()
    page.wait_for_selector("#recipes button")
    assert page.locator("#recipes button[data-id=unclip]").count() == 0  # it paints no sentences
    one, other = (
        paint(page, "the first of two", 1).locator(".tile"),
        paint(page, "the second of two", 1).locator(".tile"),
    )
    names = [found.first.get_attribute("data-picture") for found in (one, other)]
    one.first.click()
    page.keyboard.press("b")
    page.locator("#blend-bar").wait_for()
    page.locator("#blend-count").fill("5")
    page.set_viewport_size({"width": 390, "height": 400})
    seen = """() => { scrollTo({top: 1e6, behavior: 'instant'}); const bar = document.querySelector('#blend-bar');
        const box = bar.getBoundingClientRect();
        return bar.contains(document.elementFromPoint(box.x + box.width / 2, box.y + 5)); }"""
    assert page.evaluate(seen)  # on a phone, too, the form does not cover it
    page.set_viewport_size({"width": 1280, "height": 800})
    one.first.click()
    page.locator("#status.bad", has_text="another picture").wait_for()
    with page.expect_request(lambda request: request.method == "POST" and request.url.endswith("/api/jobs")) as found:
        other.first.click()
    asked = found.value.post_data_json
    assert [asked["image"], asked["other"]] == names and asked["kind"] == "blend" and asked["recipes"] == ["unclip"]
    assert asked["candidates"] == asked["keep"] == 5 and asked["prompt"] == "the first of two → the second of two"
    assert "settings" not in asked
    page.keyboard.press("Escape")
    page.locator("#blend-bar").wait_for(state="hidden")
    one.first.click()
    page.wait_for_selector("#viewer[open]")


@browsing
def test_a_comparison_is_looked_at_side_by_side(page: Any) -> None:
    page.locator("#compare").check()
    card = paint(page, "compared side by side", 2)
    both = page.locator(".job", has=page.locator("h2", has_text="compared side"))
    both.nth(1).locator(".tile[data-picture]").first.wait_for()
    card.locator(".tile[data-picture]").nth(1).click()
    page.keyboard.press("c")
    first, second = (page.get_attribute(name, "src") for name in ("#big", "#second"))
    mine, others = both.all()[:2]
    shown = [picture.get_attribute("src") for card in (mine, others) for picture in [card.locator(".tile img").nth(1)]]
    assert {first, second} == set(shown)
    assert page.inner_text("#beside-said").startswith(("dalle, beside other", "other, beside dalle"))


@browsing
def test_a_star_and_a_deletion_are_seen_in_other_tabs(page: Any, server: Running) -> None:
    card = paint(page, "seen in two tabs", 1)
    other = page.context.new_page()
    other.goto(server.url)
    same = other.locator(f".job[data-id='{card.get_attribute('data-id')}']")
    same.locator(".tile[data-picture]").wait_for()
    card.get_by_role("button", name="Star").click()
    other.locator(f".job[data-id='{card.get_attribute('data-id')}'] [aria-pressed=true]").wait_for()
    server.delete(f"/api/jobs/{card.get_attribute('data-id')}")
    for found in (card, same):
        found.wait_for(state="detached")


@browsing
def test_an_edit_under_way_survives_a_reload(page: Any) -> None:
    paint(page, "to be edited later", 1).locator(".tile").first.click()
    page.keyboard.press("e")
    page.click("#all")
    page.fill("#edit-prompt", "not yet sent")
    look = "document.getElementById('canvas').toDataURL()"
    before = page.evaluate(look)
    page.reload()
    becomes_true(page, f"{look} === {before!r}")
    assert page.input_value("#edit-prompt") == "not yet sent"
    page.click("#undo")
    assert page.evaluate(look) != before


@browsing
def test_a_dropped_picture_tells_how_it_was_made(page: Any, tmp_path: Path) -> None:
    facts = {"prompt": "三个绿色的三角形 <b>", "seed": 12, "candidates": 3, "recipe": "dalle", "temperature": 0.25}
    page.evaluate("""() => { window.gone = []; const revoke = URL.revokeObjectURL;
        URL.revokeObjectURL = (url) => { gone.push(url); revoke.call(URL, url); }; }""")
    drop(page, tmp_path, facts)
    page.wait_for_selector("#viewer[open]")
    assert page.inner_text("#big-prompt") == facts["prompt"]
    page.get_by_role("button", name="Use all").click()
    assert page.input_value("#seed") == "12" and page.input_value("#prompt") == facts["prompt"]
    assert page.input_value("#settings input[name=temperature]") == "0.25"
    first = page.get_attribute("#big", "src")
    drop(page, tmp_path, facts | {"seed": 2**62 + 1})
    page.locator("#facts dd", has_text=str(2**62 + 1)).wait_for()  # every digit of it
    page.get_by_role("button", name="Use seed").click()
    page.locator("#status.bad", has_text="more digits").wait_for()
    assert page.input_value("#seed") == "12"
    second = page.get_attribute("#big", "src")
    page.keyboard.press("Escape")
    becomes_true(page, "gone.length === 2")
    assert page.evaluate("gone") == [first, second]


def drop(page: Any, folder: Path, facts: dict[str, Any]) -> None:
    write_png(folder / "p.png", np.zeros((8, 8, 3), np.uint8), facts)
    data = list((folder / "p.png").read_bytes())
    code = """data => { const all = new DataTransfer();
        all.items.add(new File([new Uint8Array(data)], 'p.png', {type: 'image/png'})); return all; }"""
    transfer = page.evaluate_handle(code, data)
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})


@browsing
def test_cancel_search_and_classify(page: Any, server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    paint(page, "found by a sentence", 2)
    engine, clicked = server.context.dispatcher.runner.engine, Event()
    call = engine._call
    # No step before the click: however slow the browser is, there is something to cancel.
    monkeypatch.setattr(engine, "_call", lambda chosen: call(chosen) if clicked.wait(110) else None)
    page.locator("#candidates").fill("64")
    for name in ("one", "two", "three"):
        page.fill("#prompt", f"cancelled {name}")
        page.click("#go")
        page.locator(".job h2", has_text=f"cancelled {name}").wait_for()
    page.click("#cancel-all")
    clicked.set()
    page.locator(".job .about", has_text="cancelled").first.wait_for()
    page.click("#tab-search")
    page.fill("#sentence", "a star")
    page.keyboard.press("Enter")
    page.locator("#hits .tile").first.click()
    page.get_by_role("button", name="Classify").click()
    page.fill("#labels", "cat, dog")
    page.click("#classify-go")
    page.locator("#guesses li").nth(1).wait_for()


@browsing
@pytest.mark.parametrize(("width", "height"), [(320, 568), (390, 844), (1280, 800), (2560, 1440)])
def test_nothing_is_pushed_off_the_screen(browser: Any, server: Running, width: int, height: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": height}, has_touch=width < 500)
    page = context.new_page()
    page.goto(server.url)
    page.wait_for_selector("#recipes button", state="attached")
    for selector in ("#prompt", "#go"):
        box = page.locator(selector).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width and box["y"] + box["height"] <= height / 2
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for name in ("edit", "classify", "search"):
        page.click(f"#tab-{name}")
        panel = f"document.querySelector('#{name} .panel')"
        assert page.evaluate(f"{panel}.scrollWidth <= {panel}.clientWidth")
    page.click("#tab-edit")
    canvas = page.locator("#canvas").bounding_box()
    assert canvas["y"] + canvas["height"] <= height, "it is painted on without scrolling"
    context.close()
