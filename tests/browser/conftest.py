"""A Chromium, and the example's pages for it to open."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.report.compare.compare_page import write_comparison
from holdfast.report.run.page import write_page
from tests.report import example_run, example_study, example_whole

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless browser; `pip install playwright` and a system Chromium are needed, no download of one."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if not found:
        pytest.skip("there is no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of a run with a prompt, of one without, of both side by side, of one with every section there is, and of a study."""
    folder = tmp_path_factory.mktemp("pages")
    runs = [example_run.make(folder / "promot"), example_run.make(folder / "full", prompts=(None,))]
    made = {run.name: write_page(run) for run in runs}
    made["comparison"] = write_comparison(runs, folder / "comparison", floor=0.9)
    made["whole"] = write_page(example_whole.make(folder / "whole"))
    return made | {"study": example_study.make(folder / "study")}


@pytest.fixture(scope="session")
def axe() -> str:
    """axe-core's script: from AXE_CORE, or from node_modules after `npm install axe-core`."""
    path = Path(os.environ.get("AXE_CORE", "node_modules/axe-core/axe.min.js"))
    if not path.exists():
        pytest.skip("axe-core is absent; `npm install axe-core` somewhere and set AXE_CORE to its axe.min.js")
    return path.read_text(encoding="utf-8")
