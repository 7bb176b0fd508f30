"""The page where answers are late, overtake each other, or are refused: what it is told is made up here."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.serve.running import Running
from tests.serve.test_page import becomes_true, browser, browsing

__all__ = ["browser"]
pytestmark = browsing
PAINTER = {"id": "dalle", "can": ["paint", "edit"], "sizes": [64], "settings": {"temperature": 1.0}}
HASTE = "const wait = setTimeout; window.setTimeout = (does, ms) => wait(does, ms < 1000 ? ms / 20 : ms);"
NO_PICTURE = {"name": "notes.png", "mimeType": "image/png", "buffer": b"no picture"}


def made_job(number: int, **more: Any) -> dict[str, Any]:
    """A job, the newer the larger its number; by default it has ended and has no pictures."""
    about = {"id": f"{number:032x}", "state": "done", "created": float(number), "ended": number + 1.0, "kind": "paint"}
    about |= {"recipe": "dalle", "prompt": f"job {number}", "seed": 1, "candidates": 1, "keep": 1, "size": 64}
    about |= {"settings": {}, "group": None, "image": None, "other": None, "starred": False, "error": None}
    return about | {"share": 1.0, "ahead": 0, "seconds_left": None, "warnings": [], "pictures": []} | more


class Made:
    """A page, and the server that it believes to have: answers to paths with a text in `slow` wait for `release`."""

    def __init__(self, page: Any) -> None:
        self.page, self.jobs = page, list[dict[str, Any]]()
        self.models = [PAINTER, {"id": "clip", "can": ["embed"]}]
        self.sent, self.slow, self.streams = list[str](), dict[str, list[Callable[[], None]]](), list[Any]()
        self.key, self.unsearched = "", 0
        page.route("**/api/**", self._answer)

    def release(self, text: str) -> None:
        """Give the answers that were held back, the oldest first."""
        for answer in self.slow.pop(text):
            answer()

    def tell(self, *messages: dict[str, Any]) -> None:
        """Events of jobs; the page connects anew for the next ones."""
        self.until(lambda: self.streams)
        body = "".join(f"data: {json.dumps(one)}\n\n" for one in messages)
        self.streams.pop(0).fulfill(body=": connected\n\n" + body, content_type="text/event-stream")

    def until(self, condition: Callable[[], Any]) -> None:
        """Wait for what the page sends."""
        for _ in range(2400):
            if condition():
                return
            self.page.wait_for_timeout(25)
        raise AssertionError("the page has not sent it")

    def count(self, start: str) -> int:
        """How many requests have been sent whose method and path begin so."""
        return sum(one.startswith(start) for one in self.sent)

    def _answer(self, route: Any) -> None:
        path = route.request.url.partition("/api/")[2]
        self.sent.append(f"{route.request.method} {path}")
        if self.key and route.request.headers.get("authorization") != f"Bearer {self.key}":
            route.fulfill(status=401, json={"error": {"message": "the key is not known."}})
        elif path == "events":
            self.streams.append(route)
        else:
            found = self._found(route.request.method, path)
            held = next((some for text, some in self.slow.items() if text in path), None)
            if held is None:
                route.fulfill(json=found)
            else:
                held.append(lambda: route.fulfill(json=found))

    def _found(self, method: str, path: str) -> Any:
        name = urlsplit(path).path
        asked = {key: value for key, (value,) in parse_qs(urlsplit(path).query).items()}
        if name == "about":
            return {"data": self.models}
        if name == "jobs" and method == "GET":
            words, before = asked.get("words", ""), float(asked.get("before", "1e12"))
            fit = [one for one in self.jobs if words in one["prompt"] and one["created"] < before]
            fit = [one for one in fit if one["starred"] or asked.get("starred") != "true"]
            return {"jobs": sorted(fit, key=lambda one: -one["created"])[: int(asked["limit"])]}
        if name == "jobs":
            self.jobs.append(made_job(100 + len(self.jobs), state="queued"))
            return {"jobs": [self.jobs[-1]]}
        if name == "search":
            return {"hits": [], "unsearched": self.unsearched}
        if name == "classify":
            return {"labels": [{"label": "cat", "share": 1.0}]}
        found = next((one for one in self.jobs if name.startswith(f"jobs/{one['id']}")), None)
        if method == "DELETE" and found is not None:
            if found["state"] != "queued":
                self.jobs.remove(found)
                return {"jobs": []}
            found["state"] = "cancelled"
            return {"jobs": [found]}
        return found or {}


@pytest.fixture
def made(browser: Any, server: Running) -> Iterator[Made]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page, wrong = context.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.set_default_timeout(60_000)
    page.add_init_script(HASTE)
    found = Made(page)
    yield found
    for stream in found.streams:  # that the page still waits for
        stream.abort()
    context.close()
    assert not wrong


def opened(made: Made, server: Running, *jobs: dict[str, Any]) -> Any:
    """The page, with these jobs in its list."""
    made.jobs.extend(jobs)
    made.page.goto(server.url)
    made.page.wait_for_selector("#recipes button")
    made.tell()
    becomes_true(made.page, f"document.querySelectorAll('.job').length === {min(len(jobs), 24)}")
    return made.page


def test_two_submits_are_one_job_and_what_is_typed_while_loading_stays(made: Made, server: Running) -> None:
    made.slow["about"] = []
    made.page.goto(server.url)
    made.page.fill("#prompt", "typed early")
    made.page.keyboard.press("Enter")
    made.page.locator("#status", has_text="Still loading").wait_for()
    made.release("about")
    made.page.wait_for_selector("#recipes button")
    assert made.page.input_value("#prompt") == "typed early"
    made.page.evaluate(
        "document.querySelector('#form').requestSubmit(); document.querySelector('#form').requestSubmit()"
    )
    made.page.locator(".job").wait_for()
    assert made.count("POST jobs") == 1


def test_it_works_where_nothing_may_be_stored(made: Made, server: Running) -> None:
    refuse = "{ get() { throw new DOMException('no', 'SecurityError'); } }"
    made.page.add_init_script(
        f"for (const name of ['localStorage', 'sessionStorage']) Object.defineProperty(window, name, {refuse});"
    )
    page = opened(made, server, made_job(1))
    page.click("#tab-edit")
    page.set_input_files("#edit-file", picture(page))
    becomes_true(page, "document.querySelector('#canvas').toDataURL().length > 3000")
    page.click("#all")
    page.fill("#edit-prompt", "unstored")
    page.click("#edit-go")
    page.locator("#paint .job").nth(1).wait_for()
    assert not page.locator("#status.bad", has_text="storage").count()


def picture(page: Any) -> dict[str, Any]:
    """A file with a picture that is no single colour."""
    code = """() => { const one = Object.assign(document.createElement('canvas'), {width: 64, height: 64});
        one.getContext('2d').fillRect(0, 0, 30, 50); return one.toDataURL().split(',')[1]; }"""
    return {"name": "p.png", "mimeType": "image/png", "buffer": base64.b64decode(page.evaluate(code))}


def test_a_wrong_key_is_called_wrong_and_one_that_cannot_be_sent_is_not_kept(made: Made, server: Running) -> None:
    made.key = "right"
    page = made.page
    page.goto(server.url)
    page.fill("#key", "schlüssel")
    page.keyboard.press("Enter")
    assert page.locator("#ask-key[open]").count() and not made.page.evaluate("sessionStorage.length")
    assert not page.locator("#key-wrong").is_visible()
    page.fill("#key", "wrong")
    page.keyboard.press("Enter")
    page.locator("#key-wrong").wait_for()
    page.fill("#key", " right ")
    page.keyboard.press("Enter")
    page.wait_for_selector("#recipes button")


def test_late_answers_change_nothing_in_the_list(made: Made, server: Running) -> None:
    page = opened(made, server, made_job(1, prompt="slow"), made_job(2, prompt="fast"))
    made.slow["words=slow"] = []
    page.fill("#words", "slow")
    made.until(lambda: made.slow["words=slow"])
    page.fill("#words", "fast")
    becomes_true(page, "document.querySelectorAll('.job').length === 1")
    made.release("words=slow")
    page.wait_for_timeout(50)
    assert page.locator(".job h2").all_inner_texts() == ["fast"]
    page.fill("#words", "")
    becomes_true(page, "document.querySelectorAll('.job').length === 2")
    new = made_job(3, state="queued", ended=None, share=0.0)
    made.jobs.append(new)
    made.slow[new["id"]] = []
    made.tell({"job": new["id"], "kind": "queued"})  # its answer is from before the end, and arrives after it
    made.until(lambda: made.slow[new["id"]])
    before = made.slow.pop(new["id"])
    made.jobs[-1] = made_job(3)
    made.tell({"job": new["id"], "kind": "ended"})
    page.locator("#status", has_text="Painted: job 3").wait_for()
    for answer in before:
        answer()
    page.wait_for_timeout(50)
    assert "1 candidate · in" in page.locator(".job .about").first.inner_text()
    assert page.get_by_role("button", name="Cancel", exact=True).count() == 0


def test_an_old_job_that_ends_leaves_no_gap_in_the_list(made: Made, server: Running) -> None:
    page = opened(made, server, *map(made_job, range(1, 51)))
    made.tell({"job": made_job(1)["id"], "kind": "ended"})
    page.locator("#status", has_text="Painted: job 1").wait_for()
    assert page.locator(".job").count() == 24
    page.click("#older")
    becomes_true(page, "document.querySelectorAll('.job').length === 48")
    made.tell()  # a reconnection: the list stays as long as it is
    page.wait_for_timeout(100)
    assert page.locator(".job").count() == 48
    page.click("#older")
    becomes_true(page, "document.querySelectorAll('.job').length === 50")
    assert page.locator(".job h2").all_inner_texts() == [f"job {number}" for number in range(50, 0, -1)]
    assert not page.locator("#older").is_visible()


def test_what_is_selected_is_deleted_whether_or_not_it_has_ended(made: Made, server: Running) -> None:
    page = opened(made, server, made_job(1), made_job(2, state="queued", ended=None, share=0.1))
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("#select")
    for card in page.locator(".job").all():
        card.click(position={"x": 20, "y": 8})
    page.click("#delete-selected")
    page.locator("#empty", has_text="Nothing painted yet").wait_for()
    assert not made.jobs and made.count("DELETE") == 3  # one is cancelled first


def test_classes_are_those_of_the_picture_that_is_shown(made: Made, server: Running) -> None:
    page = opened(made, server)
    page.click("#tab-classify")
    page.set_input_files("#classify-file", NO_PICTURE)
    page.locator("#status.bad", has_text="not a picture").wait_for()
    assert not page.locator("#classify-picture").is_visible()
    page.set_input_files("#classify-file", picture(page))
    page.locator("#classify-picture").wait_for()
    page.click("#classify-go")
    page.locator("#classify-empty", has_text="Enter some labels").wait_for()
    page.fill("#labels", "cat, dog")
    made.slow["classify"] = []
    page.click("#classify-go")
    made.until(lambda: made.slow["classify"])
    assert page.locator("#guesses").inner_text() == "Classifying …"
    page.set_input_files("#classify-file", picture(page) | {"name": "another.png"})
    page.wait_for_timeout(100)
    made.release("classify")
    page.wait_for_timeout(50)
    assert page.locator("#guesses li").count() == 0
    page.click("#classify-go")
    page.locator("#guesses li").wait_for()
    assert not page.locator("#classify-empty").is_visible()


def test_a_search_says_how_many_pictures_it_cannot_find_yet(made: Made, server: Running) -> None:
    page = opened(made, server)
    page.click("#tab-search")
    page.fill("#sentence", "a star")
    for made.unsearched, said in ((2, "2 pictures cannot be found yet"), (1, "1 picture cannot"), (0, "no pictures")):
        page.keyboard.press("Enter")
        page.locator("#hits p", has_text=said).wait_for()


def test_a_picture_dropped_on_the_tab_edit_is_opened_there(made: Made, server: Running) -> None:
    page = opened(made, server)
    page.click("#tab-edit")
    blank = page.evaluate("document.querySelector('#canvas').toDataURL()")
    code = """data => { const all = new DataTransfer();
        all.items.add(new File([new Uint8Array(data)], 'p.png', {type: 'image/png'})); return all; }"""
    transfer = page.evaluate_handle(code, list(picture(page)["buffer"]))
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    becomes_true(page, f"document.querySelector('#canvas').toDataURL() !== {blank!r}")
    corner = "[...document.querySelector('#canvas').getContext('2d').getImageData(2, 2, 1, 1).data].join()"
    clean = page.evaluate(corner)
    page.locator("#brush").fill("2")
    page.keyboard.press("Escape")
    page.focus("#canvas")
    page.evaluate("""() => { const key = (name) => document.querySelector('#canvas')
        .dispatchEvent(new KeyboardEvent('keydown', {key: name, bubbles: true, cancelable: true}));
        for (let k = 0; k < 20; k += 1) { key('ArrowLeft'); key('ArrowUp'); }
        for (let k = 0; k < 45; k += 1) { key(' '); key(k < 2 ? 'ArrowRight' : 'ArrowDown'); } }""")
    assert page.evaluate(corner) != clean  # the first of many strokes still counts
    page.click("#clear")
    page.fill("#edit-prompt", "nothing to repaint")
    page.click("#edit-go")
    page.locator("#status.bad", has_text="Paint over").wait_for()
    assert made.count("POST jobs") == 0
    page.click("#undo")
    assert page.evaluate(corner) != clean
    page.click("#all")
    page.click("#edit-go")
    page.locator(".job").wait_for()


def test_what_the_server_cannot_do_has_no_tab(made: Made, server: Running) -> None:
    made.models = [PAINTER | {"can": ["paint"]}, PAINTER | {"id": "other", "can": ["paint"]}]
    made.page.goto(f"{server.url}/#search")
    made.page.wait_for_selector("#recipes button")
    assert [one.inner_text() for one in made.page.get_by_role("tab").all()] == ["Paint"]
    made.page.focus("#recipes [aria-checked=true]")
    made.page.keyboard.press("ArrowRight")
    assert made.page.evaluate("document.activeElement.ariaChecked + document.activeElement.dataset.id") == "trueother"
    assert made.page.locator("#recipes [tabindex='0']").count() == 1
    made.page.fill("#prompt", "قطة حمراء")
    assert made.page.evaluate("getComputedStyle(document.querySelector('#prompt')).direction") == "rtl"


def test_the_viewer_says_what_its_buttons_did_and_keeps_the_focus(made: Made, server: Running) -> None:
    shown = {"id": "f" * 32, "url": "web/icon.svg", "candidate": 0, "seed": 1, "score": 0.5, "starred": False}
    page = opened(made, server, made_job(1, size=128, pictures=[shown], seed=7))
    page.locator(".tile").click()
    page.get_by_role("button", name="Use all").click()
    page.locator("#viewer-said", has_text="are in the form").wait_for()
    page.set_viewport_size({"width": 390, "height": 600})
    assert page.locator("#big-prompt").bounding_box()["height"] > 10
    page.set_viewport_size({"width": 1280, "height": 800})
    assert page.input_value("#size") == "128x128" and page.input_value("#seed") == "7"
    page.get_by_role("button", name="☆ Star").focus()
    made.jobs[0]["pictures"] = [shown | {"starred": True}]
    page.keyboard.press("Enter")
    page.get_by_role("button", name="★ Starred").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "★ Starred"
    page.keyboard.press("Escape")
    becomes_true(page, "document.activeElement.matches('.tile.shown')")  # though the card has been drawn anew
    page.locator(".job header button").focus()
    made.jobs[0]["starred"] = True
    page.keyboard.press("Enter")
    page.locator(".job header button", has_text="★").wait_for()
    assert page.evaluate("document.activeElement.ariaPressed") == "true"


def test_stars_given_in_another_tab_reach_a_list_of_starred_jobs(made: Made, server: Running) -> None:
    page = opened(made, server, *(made_job(number, starred=number == 1) for number in (1, 2, 3)))
    page.check("#starred")
    becomes_true(page, "document.querySelectorAll('.job').length === 1")
    made.slow["starred=true"] = []  # what the page asks as it connects anew, before it hears the messages
    made.tell(*({"job": one["id"], "kind": "marked"} for one in made.jobs[:2]))
    made.until(lambda: made.slow["starred=true"])
    made.jobs[0]["starred"], made.jobs[1]["starred"] = False, True
    made.release("starred=true")
    becomes_true(page, "[...document.querySelectorAll('.job h2')].map((one) => one.textContent).join() === 'job 2'")


def test_a_connection_that_has_fallen_silent_is_made_anew(made: Made, server: Running) -> None:
    made.page.clock.install()
    made.page.goto(server.url)
    made.page.wait_for_selector("#recipes button")
    made.until(lambda: made.streams)
    made.page.clock.run_for(60_000)
    made.page.locator("#status.bad", has_text="Not connected").wait_for()
    made.page.clock.run_for(1_000)
    made.until(lambda: len(made.streams) == 2)
