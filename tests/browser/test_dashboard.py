"""A reader who is given only the link: each page in a real browser, on a real rehearsal, clicked through, by mouse and by keyboard."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.conftest import Reader

pytestmark = pytest.mark.browser

SWEEP = "/sweep/looked_at-rehearsal"
PAGES: dict[str, Callable[[dict[str, str]], str]] = {
    "overview": lambda ids: "/",
    "table": lambda ids: SWEEP,
    "grid": lambda ids: f"{SWEEP}?view=grid",
    "grid by metric": lambda ids: f"{SWEEP}?view=grid&by=metric",
    "curves": lambda ids: f"{SWEEP}?view=curves",
    "intervals": lambda ids: f"{SWEEP}?view=intervals",
    "importance": lambda ids: f"{SWEEP}?view=importance",
    "parallel": lambda ids: f"{SWEEP}?view=parallel",
    "trials": lambda ids: f"{SWEEP}?view=trials",
    "trial": lambda ids: f"/trial/{ids['2']}",
    "failed trial": lambda ids: f"/trial/{ids['3']}",
    "compare": lambda ids: f"/compare?side={ids['1'][:12]}&side={ids['2'][:12]}",
    "ensemble": lambda ids: "/ensemble?sweep=looked_at-rehearsal&name=both/mean",
    "cluster": lambda ids: "/cluster",
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_accessible_and_fits_its_window(name: str, reader: Reader, ids: dict[str, str]) -> None:
    page = reader.open(PAGES[name](ids))
    expect(page.locator("h1")).to_have_count(1)
    width = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert width[0] <= width[1], "the page itself never scrolls sideways"
    assert page.evaluate("[...document.images].filter(one => one.complete && !one.naturalWidth).map(one => one.src)") == []
    found: Any = Axe().run(page, options={"resultTypes": ["violations"]})
    assert found.response["violations"] == [], found.generate_report()


def test_from_the_link_to_the_best_cell_its_mistakes_and_the_failed_cell(reader: Reader, ids: dict[str, str]) -> None:
    page = reader.open("/")
    page.get_by_role("link", name="looked_at-rehearsal", exact=True).click()
    reader.settle()
    expect(page.get_by_text("REHEARSAL: tiny random models")).to_be_visible()
    expect(page.get_by_role("heading", name="Which is best, and how sure is that")).to_be_visible()
    page.get_by_role("link", name=re.compile("^mistakes of")).first.click()
    reader.settle()
    expect(page.locator("article.example").first).to_contain_text("Preferred")
    picture = page.locator("article.example img").first
    picture.scroll_into_view_if_needed()
    reader.until("document.querySelector('article.example img').naturalWidth > 0")
    page.go_back()
    reader.settle()
    page.get_by_role("link", name=re.compile("1 failed")).first.click()
    page.get_by_role("link", name=ids["3"][:10], exact=True).click()
    expect(page.get_by_text("user_bug").first).to_be_visible()
    expect(page.locator("main")).to_contain_text("<b>the margin of this loss</b> has no value")
    assert page.locator("main b").count() == 0


def test_choices_stand_in_the_address_and_a_link_shows_the_same_view(reader: Reader) -> None:
    page = reader.open(f"{SWEEP}?view=curves")
    page.get_by_label("Metric", exact=True).select_option("train/loss")
    page.wait_for_url(re.compile("metric=train"))
    page.get_by_label("By", exact=True).select_option("tokens")
    page.wait_for_url(re.compile("x=tokens"))
    address = page.url
    reader.settle()
    shown = page.locator("figure img").get_attribute("src")
    assert reader.open(address.removeprefix(reader.base)).locator("figure img").get_attribute("src") == shown
    expect(page.get_by_label("By", exact=True)).to_have_value("tokens")
    for name in ("SVG", "PNG", "CSV"):
        with page.expect_download() as started:
            page.get_by_role("link", name=name, exact=True).click()
        assert started.value.suggested_filename == f"looked_at-rehearsal-curves.{name.lower()}"


def test_cells_are_picked_and_compared_with_the_keyboard_alone(reader: Reader) -> None:
    page = reader.open(SWEEP)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()

    def tab_to(role: Any, name: str) -> None:
        wanted = page.get_by_role(role, name=name, exact=True)
        for _ in range(80):
            if wanted.evaluate("one => one === document.activeElement"):
                assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"{name} is not reached")

    boxes = page.locator("input[type=checkbox][aria-label]").evaluate_all("all => all.map(one => one.ariaLabel)")
    for name in boxes[:2]:
        tab_to("checkbox", name)
        page.keyboard.press("Space")
    tab_to("checkbox", "pick ensemble both/mean")
    page.keyboard.press("Space")
    tab_to("button", "Compare the picked cells")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/compare"))
    reader.settle()
    expect(page.get_by_role("heading", name="Where they disagree")).to_be_visible()
    page.get_by_label("The first against").select_option("looked_at-rehearsal:ensemble=both/mean")
    expect(page.get_by_role("link", name="both/mean", exact=True)).to_be_visible(timeout=30_000)


def test_a_page_that_is_open_shows_what_is_new_and_keeps_what_was_picked(reader: Reader) -> None:
    page = reader.open(SWEEP)
    page.locator("input[type=checkbox]").first.check()
    page.evaluate("document.querySelector('main').dataset.version = 'of yesterday'; document.querySelector('h1').textContent = 'old'")
    expect(page.locator("h1")).to_contain_text("looked_at-rehearsal", timeout=30_000)
    assert page.locator("input[type=checkbox]").first.is_checked()
    assert page.locator("main").get_attribute("data-version") != "of yesterday"
