"""The pages in a browser: quiet, alone, sortable, as wide as the screen, and readable by everybody.

With SCREENSHOTS set to a folder, each page is also drawn there, in light and dark, on a desktop and on a phone.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser
EVERY_PAGE = pytest.mark.parametrize("name", ["promot", "full", "comparison", "whole", "study"])
WIDTHS = (320, 390, 768, 1280)


@pytest.fixture
def show(chromium: Any, pages: dict[str, Path]) -> Iterator[Callable[..., Any]]:
    """Open a page; whatever it complains about or asks the network for is collected in `.trouble`."""
    contexts = []

    def opened(name: str, *, width: int = 1280, **options: Any) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.trouble = []
        url = pages[name].as_uri()
        page.on("console", lambda message: page.trouble.append(message.text))
        page.on("pageerror", lambda error: page.trouble.append(str(error)))
        page.on("request", lambda request: request.url != url and page.trouble.append(request.url))
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()


def column(page: Any, table: str, place: int) -> list[str]:
    """The texts of a table's visible cells in a column."""
    return page.eval_on_selector_all(
        f"{table} tbody tr:not([hidden])", f"rows => rows.map(row => row.cells[{place}].textContent.trim())"
    )


@EVERY_PAGE
def test_the_page_says_nothing_to_the_console_and_asks_for_nothing(show: Callable[..., Any], name: str) -> None:
    page = show(name)
    page.wait_for_load_state("networkidle")
    assert page.trouble == []
    assert page.title().endswith(("report", "comparison", "study"))


@EVERY_PAGE
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_is_never_wider_than_the_screen(show: Callable[..., Any], name: str, width: int) -> None:
    page = show(name, width=width)
    page.evaluate("for (const folded of document.querySelectorAll('details')) folded.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_newer_sections_are_there_and_every_figure_has_room(show: Callable[..., Any]) -> None:
    """The bug: a figure whose box has no height or width shows nothing and breaks no other test."""
    page = show("whole", width=390)
    for heading in ("Lost, or only hidden?", "Where the format lives", "Over the steps of training", "Why"):
        assert page.get_by_role("heading", name=heading, exact=True).is_visible()
    for name in ("whole", "study"):
        boxes = show(name, width=390).eval_on_selector_all(
            "svg.panel", "found => found.map(one => [one.clientWidth, one.clientHeight])"
        )
        assert len(boxes) >= 6
        assert all(width >= 150 and height >= 150 for width, height in boxes), boxes


def test_columns_sort_by_number_both_ways_and_leave_empty_cells_last(show: Callable[..., Any]) -> None:
    page = show("promot")
    head = page.locator("#all-scores th", has_text="Change")
    place = head.evaluate("head => head.cellIndex")
    for direction, backwards in (("ascending", False), ("descending", True)):
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == direction
        texts = column(page, "#all-scores", place)
        numbers = [float(text.replace("−", "-")) for text in texts if text]
        assert len(set(numbers)) > 10
        assert numbers == sorted(numbers, reverse=backwards)
        assert texts[len(numbers) :] == [""] * (len(texts) - len(numbers))
    assert page.locator("#all-scores [aria-sort]").count() == 1


def test_a_number_below_what_is_written_sorts_as_that_number(show: Callable[..., Any]) -> None:
    page = show("promot")
    place = page.locator("#all-scores th").all_text_contents().index("p")
    page.locator("#all-scores thead th").nth(place).get_by_role("button").click()
    assert column(page, "#all-scores", place)[0] == "<0.0001"


def test_sorting_works_from_the_keyboard(show: Callable[..., Any]) -> None:
    page = show("promot")
    page.locator("#all-scores th", has_text="Task").get_by_role("button").focus()
    page.keyboard.press("Enter")
    tasks = column(page, "#all-scores", 0)
    assert tasks[0].startswith("function_vectors")
    assert tasks[-1].startswith("xsum")


def test_filtering_keeps_rows_with_every_word_and_counts_them(show: Callable[..., Any]) -> None:
    page = show("promot")
    every = len(column(page, "#all-scores", 0))
    page.locator("#filter").fill("XSUM lost")
    shown = column(page, "#all-scores", 0)
    assert set(shown) == {"xsum"}
    assert 0 < len(shown) < every
    assert page.locator("#filter-count").text_content() == f"{len(shown)} of {every} rows"
    page.locator("#filter").fill("")
    assert len(column(page, "#all-scores", 0)) == every


def test_items_are_filtered_by_what_happened_to_them(show: Callable[..., Any]) -> None:
    """By their mark and not by a word, which may stand in a question; together with words, and all again after a second press."""
    page = show("whole")
    page.locator("details[data-folded] summary").first.click()
    every = column(page, "#flip-table", 1)
    assert {"lost", "gained"} <= set(every)
    assert every == sorted(every, key=["lost", "gained", "both wrong"].index)
    button = page.locator("button[data-keeps=gained]")
    button.click()
    assert set(column(page, "#flip-table", 1)) == {"gained"}
    assert button.text_content() == f"Gained ({every.count('gained')})"
    page.locator("button[data-keeps=lost]").click()
    assert column(page, "#flip-table", 1) == ["lost"] * every.count("lost")
    page.locator("#flip-filter").fill("no such word")
    assert column(page, "#flip-table", 1) == []
    page.locator("#flip-filter").fill("")
    page.locator("button[data-keeps=lost]").click()
    assert column(page, "#flip-table", 1) == every


def test_everything_is_there_without_script(show: Callable[..., Any]) -> None:
    page = show("promot", java_script_enabled=False)
    assert page.locator("#all-scores tbody tr").count() > 50
    assert page.locator("#all-scores tbody tr").first.is_visible()
    assert page.locator(".forest tbody tr").first.is_visible()


def test_the_policy_stops_a_script_that_got_in_anyway(show: Callable[..., Any]) -> None:
    page = show("promot")
    page.evaluate(
        "() => { const script = document.createElement('script'); script.textContent = 'window.got_in = 1';"
        " document.body.append(script); const image = document.createElement('img'); image.src = 'https://example.org/x';"
        " image.setAttribute('onerror', 'window.got_in = 1'); document.body.append(image); }"
    )
    page.wait_for_timeout(200)
    assert page.evaluate("window.got_in") is None


def test_printing_opens_what_is_folded(show: Callable[..., Any]) -> None:
    page = show("promot")
    assert page.locator("details:not([open])").count() > 0
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    # The table of items that moved may have thousands of rows, and stays folded as the study's longest do.
    assert page.locator("details:not([open]):not([data-folded])").count() == 0
    study = show("study")
    study.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert study.get_by_text("The numbers of these figures").first.is_visible()
    assert study.locator("details[open]").count() == 2, "tests are a row for each arm; the longest tables stay folded"
    assert study.locator("details:not([open])").count() == 4


@EVERY_PAGE
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_no_serious_problem(show: Callable[..., Any], axe: str, name: str, scheme: str, width: int) -> None:
    page = show(name, width=width, color_scheme=scheme, bypass_csp=True)
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}-{width}-{scheme}.png", full_page=True)
    page.evaluate("for (const folded of document.querySelectorAll('details')) folded.open = true")
    page.evaluate(axe)
    found = page.evaluate("axe.run(document).then(result => result.violations)")
    serious = [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")]
    assert serious == []
