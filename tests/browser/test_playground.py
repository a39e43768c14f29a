"""The playground in a browser: one question, three answers, and nothing leaves the machine."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import holdfast

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]  # Gradio's own warnings are not ours to fix
SHORT: dict[str, Any] = {"prompt.steps": 20, "prompt.length": 4, "model.steps": 10, "model.learning_rate": 1e-3}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A served playground of a short run on the lab; PLAYGROUND_RUN names a run to use instead."""
    pytest.importorskip("gradio", reason="the extra `playground` is not installed")
    from holdfast.playground.bench import opened
    from holdfast.playground.page import serve

    run = os.environ.get("PLAYGROUND_RUN")
    if run is None:
        out, general = tmp_path_factory.mktemp("run") / "lab-run", ["lab:sentiment", "lab:count"]
        run = str(holdfast.tune("lab", "lab:elicit-sentiment", general=general, limit=20, out=out, **SHORT).folder)
    blocks, found = serve(opened(run), host="127.0.0.1", port=None, wait=False)
    yield found
    blocks.close(verbose=False)


@pytest.fixture
def show(chromium: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Open the page; its complaints, and every request to another place, are collected in `.trouble`."""
    contexts = []

    def opened(*, width: int = 1280, **options: Any) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.trouble = []
        page.on("console", lambda message: message.type in ("error", "warning") and page.trouble.append(message.text))
        page.on("pageerror", lambda error: page.trouble.append(str(error)))
        page.on(
            "request",
            lambda request: request.url.startswith((address, "data:", "blob:")) or page.trouble.append(request.url),
        )
        page.goto(address)
        page.get_by_role("button", name="Ask", exact=True).wait_for()
        return page

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A served playground of two models that no run holds: the lab's, and the same pulled away from itself."""
    pytest.importorskip("gradio", reason="the extra `playground` is not installed")
    import torch

    from holdfast import lab
    from holdfast.models import loading
    from holdfast.playground.bench import compared
    from holdfast.playground.page import serve

    moved = holdfast.load("lab").pretrained
    with torch.no_grad():
        for weight in moved.model.parameters():
            weight += 0.5 * weight.std() * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    folder = tmp_path_factory.mktemp("models") / "moved"
    loading.save(moved, folder)
    bench = compared([str(lab.folder()), str(folder)], ["lab:sentiment", "lab:from-zan"])
    blocks, found = serve(bench, host="127.0.0.1", port=None, wait=False)
    yield found
    blocks.close(verbose=False)


@pytest.mark.parametrize("width", [390, 1280])
def test_two_models_show_where_their_answers_part(
    chromium: Any, axe: str, two: str, width: int, tmp_path: Path
) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 900}, bypass_csp=True)
    page = context.new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(two)
    page.locator(".samples button").first.wait_for()
    # The first item on which they differ: the marked rest, and both models' probabilities of what comes there.
    cards = ["", ""]
    for number in range(page.locator(".samples button").count()):
        page.locator(".samples button").nth(number).click()
        page.wait_for_timeout(300)
        cards = answered(page)
        if "Leaves " in cards[1]:
            break
    assert "Leaves " in cards[1], "no example shows anything"
    assert page.locator(".card mark").count() == 1
    assert page.locator(".parting tbody tr").count() >= 4
    page.screenshot(path=Path(os.environ.get("SCREENSHOTS", tmp_path)) / f"playground-two-{width}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert all(url.startswith((two, "data:", "blob:")) for url in requests)
    page.evaluate(axe)
    found = page.evaluate("axe.run(document).then(result => result.violations)")
    assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []
    context.close()


def answered(page: Any) -> list[str]:
    """Wait for every card to have its first tokens; the texts of the cards."""
    page.wait_for_function(
        "document.querySelectorAll('.card').length === document.querySelectorAll('.card table:not(.parting)').length"
    )
    return page.locator(".card").all_inner_texts()


def test_one_question_has_three_answers_with_first_tokens(show: Callable[..., Any], address: str) -> None:
    assert address.startswith("http://127.0.0.1:")
    page = show()
    page.get_by_role("textbox", name="Input", exact=True).fill("review : what a nice day\nmood :")
    page.get_by_role("button", name="Ask", exact=True).click()
    cards = answered(page)
    assert [text.splitlines()[0] for text in cards] == ["Base", "Tuned, prompt attached", "Tuned, prompt removed"]
    # The base's five likeliest first tokens; the others also have those where their answers leave the base's.
    assert cards[0].count("%") == 5
    assert all(text.count("%") == 5 if "The same as Base" in text else "Leaves Base" in text for text in cards[1:])
    assert page.trouble == []


def test_an_example_is_one_click_away_and_demonstrations_come_before_it(show: Callable[..., Any]) -> None:
    page = show()
    page.locator(".samples button").first.click()
    answered(page)
    question = page.get_by_role("textbox", name="Input", exact=True).input_value()
    assert question
    page.get_by_role("button", name="What the models read").click()
    read = page.get_by_role("textbox", name="Prompt, demonstrations included")
    lengths = []
    for shots in ("off", "2"):
        page.get_by_role("radio", name=shots, exact=True).check()
        page.get_by_role("button", name="Ask", exact=True).click()
        page.wait_for_timeout(300)
        answered(page)
        assert read.input_value().endswith(question)
        lengths.append(len(read.input_value()))
    assert lengths[0] == len(question) < lengths[1]
    assert page.trouble == []


def test_what_cannot_be_asked_is_said(show: Callable[..., Any]) -> None:
    page = show()
    page.get_by_role("button", name="Ask", exact=True).click()
    page.get_by_text("write something to ask").wait_for()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_problem_and_the_page_fits(
    show: Callable[..., Any], axe: str, width: int, scheme: str, tmp_path: Path
) -> None:
    page = show(width=width, color_scheme=scheme, bypass_csp=True)
    page.locator(".samples button").first.click()
    answered(page)
    page.wait_for_timeout(300)
    where = Path(os.environ.get("SCREENSHOTS", tmp_path))
    page.screenshot(path=where / f"playground-{width}-{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate(axe)
    found = page.evaluate("axe.run(document).then(result => result.violations)")
    serious = [
        (v["id"], [n["html"][:200] for n in v["nodes"]]) for v in found if v["impact"] in ("serious", "critical")
    ]
    assert serious == []
