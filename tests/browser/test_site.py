"""The documentation site in a browser: it fits a phone, is found by searching, and asks no other machine for anything."""

import functools
import os
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.test_site import ROOT, build

pytestmark = pytest.mark.browser
PAGES = [
    "index.html",
    "questions/choosing-a-method.html",
    "techniques/methods/promot.html",
    "notebooks/1-first-run.html",
]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests' output is not a server's log."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("material", reason="pip install mkdocs-material")
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT / "mkdocs.yml", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_and_loads_from_its_own_server_alone(
    chromium: Any, address: str, name: str, width: int, tmp_path: Path
) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    foreign: list[str] = []
    page.on("request", lambda r: r.url.startswith((address, "data:", "blob:")) or foreign.append(r.url))
    page.on("console", lambda m: m.type == "error" and foreign.append(m.text))
    page.goto(address + name)
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert foreign == []
    where = Path(os.environ.get("SCREENSHOTS", tmp_path))
    page.screenshot(path=where / f"site-{Path(name).stem}-{width}.png")
    context.close()


def test_a_setting_is_found_by_searching(chromium: Any, address: str) -> None:
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.goto(address)
    page.get_by_role("textbox", name="Search").click()
    page.keyboard.type("keep_floor")
    page.locator(".md-search-result__item").first.wait_for()
    assert page.locator(".md-search-result__item").count() >= 3
    page.close()
