"""The documentation site builds offline, a broken link stops it, and every technique has a page with all its settings."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# The generator's notice on its own future goes to stderr, which tests of warnings need not see.
ENVIRONMENT = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}


def build(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    # Not `--quiet`: warnings that are not printed are not counted either, and nothing would ever fail.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(config), "-d", str(site)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("material", reason="pip install mkdocs-material")
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT / "mkdocs.yml", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"?(?:https?:)?//[^\s\">]*", text)
        loaded += re.findall(r"<link\b(?![^>]*rel=\"?canonical)[^>]*\bhref=\"?(?:https?:)?//[^\s\">]*", text)
        assert loaded == [], f"{page.relative_to(site)}: {loaded}"
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(?:https?:)?//", style.read_text(encoding="utf-8")), style


def test_every_technique_has_a_page_with_its_settings_and_can_be_searched(site: Path) -> None:
    from holdfast.plugins import ANALYSES, CURATIONS, DECODINGS, EDITS, METHODS, RECIPES, techniques

    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    searched = {entry["location"]: entry["text"] for entry in index["docs"]}
    folders = {METHODS: "methods", RECIPES: "methods", EDITS: "edits", CURATIONS: "curations", DECODINGS: "decodings"}
    for family, folder in (folders | {ANALYSES: "analyses"}).items():
        for name, technique in techniques(family).items():
            page = (site / "techniques" / folder / f"{name}.html").read_text(encoding="utf-8")
            assert f"techniques/{folder}/{name}.html" in searched
            # What is a stage by itself (`Method.stages`) is no setting.
            held = technique.attributes.get("stages", "()")
            missing = [field for field in technique.fields if field not in page and repr(field) not in held]
            assert missing == [], f"{name}: {missing}"


def test_a_broken_link_and_a_broken_anchor_stop_the_build(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="pip install mkdocs-material")
    (tmp_path / "docs").mkdir()
    config = tmp_path / "mkdocs.yml"
    # Of the real configuration everything that judges links; the pages and what makes them are left out.
    config.write_text(
        f"INHERIT: {ROOT / 'mkdocs.yml'}\ndocs_dir: docs\nhooks: []\nplugins: []\nextra_css: []\nnav: [index.md, other.md]\n"
        "theme: {name: material, font: false, favicon: null}\n"
    )
    (tmp_path / "docs" / "other.md").write_text("# Other\n\n## Here\n")
    for link, right in (("other.md#here", True), ("absent.md", False), ("other.md#there", False)):
        (tmp_path / "docs" / "index.md").write_text(f"# Page\n\n[link]({link})\n")
        done = build(config, tmp_path / "site")
        assert (done.returncode == 0) == right, f"{link}: {done.stdout}{done.stderr}"
