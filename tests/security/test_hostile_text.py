"""Names and answers that somebody else wrote are text: on a terminal, in a card, in a study's tables, on pages."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from holdfast.cli import output
from holdfast.models.architecture import of_run
from holdfast.report.card import card
from holdfast.report.run.page import page
from holdfast.report.study.study_markdown import markdown
from holdfast.results.run_folder import read
from holdfast.results.study import Cell, Spread, Study, TaskScore
from holdfast.results.visible import escaped, visible
from tests.report import example_run

ESC, RLO = "\x1b", "\u202e"
TERMINAL = [f"{ESC}]0;owned\x07", f"{ESC}[2J", "\x9b2J", f"a{RLO}b", "a\u2066b", "a\rb", "\0", "a\x08b", "\ud800"]
MARKDOWN = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "`</code><b>x", "a\n# heading", "a\n---\nb", "a|b|c",
    "[x](javascript:alert(1))", "a\n```\nb", "![x](http://evil)", "&lt;b&gt;", "a\n\n<!-- ", "*a* _b_ ~~c~~", "# a", "- a", "1. a",
]  # fmt: skip
PYTHON = ['a"); import os; os.system("x', "a\\", 'a"\nimport os', "a'''b"]


@pytest.mark.parametrize("text", TERMINAL, ids=ascii)
def test_what_a_terminal_would_obey_is_shown_as_signs(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    output.show(text)
    output.facts({"name": text})
    output.lines([{"name": text}])
    printed = capsys.readouterr().out
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", printed), ascii(
        printed
    )
    assert json.loads(printed.splitlines()[-1]) == {"name": text}, "a program reads what was meant"


@pytest.mark.parametrize("text", ["x[/b]", "[red]x", "[link=http://evil]x[/link]", "[/]"])
def test_markup_of_the_terminal_is_text(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    output.show(text)
    output.table(read(example_run_of(text)).scores[:1])
    assert capsys.readouterr().out.count(text) == 2


def test_colours_of_ours_stay() -> None:
    from io import StringIO

    from rich.console import Console
    from rich.text import Text

    from holdfast.results.visible import Visible

    console = Console(file=StringIO(), force_terminal=True, color_system="standard")
    console.print(Visible(Text(f"a{ESC}[2Jb", style="red")))
    written = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert written.startswith(f"{ESC}[31m")
    assert f"{ESC}[2J" not in written


def test_an_error_is_printed_without_commands(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        raise ValueError(f"key `{ESC}[2J`")

    with pytest.raises(SystemExit):
        output.guarded(fails)
    assert capsys.readouterr().err == "holdfast: key `␛[2J`\n"


def example_run_of(name: str, root: Path | None = None) -> Path:
    """Return the example's run with one of its tasks, the models, the recipe and a version called `name`."""
    import tempfile

    folder = example_run.make(Path(root or tempfile.mkdtemp()) / "run")
    for file in (folder / "scores.jsonl", folder / "outputs.jsonl"):
        lines = []
        for line in file.read_text().splitlines():
            record = json.loads(line)
            record |= {"task": name} if record["task"] == "rte" else {}
            if "versions" in record:
                tuned = record["variant"] == "tuned"
                record |= {
                    "model": name if tuned else f"b {name}",
                    "recipe": name,
                    "versions": {"torch": name},
                    "dtype": name,
                }
            lines.append(json.dumps(record))
        file.write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("text", [*MARKDOWN, *PYTHON, *TERMINAL[:5]], ids=ascii)
def test_a_card_shows_every_name_as_text(text: str, tmp_path: Path) -> None:
    folder = example_run_of(text, tmp_path)
    run = read(folder)
    written = card(run, of_run(folder))
    head, body = written.removeprefix("---\n").split("\n---\n", 1)  # as a hub reads it
    assert yaml.safe_load(head)["model-index"][0]["results"], "the head is YAML, whatever stands in names"
    assert visible(body) == body
    outside = re.sub(r"^(`{3,}).*?^\1$", "", body, flags=re.DOTALL | re.MULTILINE)
    outside = re.sub(r"`[^`\n]*`", "", outside)
    assert not re.search(r"(?<!\\)[<>]", outside), "no HTML"
    assert not re.search(r"(?<!\\)\]\(", outside), "no link that is not ours"
    headings = [line for line in outside.splitlines() if line.startswith("#")]
    assert headings[1:] == ["## Before and after", "## Loading", "## Limits", "## Repeating this run"]
    assert not [line for line in outside.splitlines() if line.strip() in ("---", "```")]
    rows = [line for line in outside.splitlines() if line.startswith("| ")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1, "every row has as many cells"


@pytest.mark.parametrize("text", PYTHON, ids=ascii)
def test_the_code_of_a_card_is_the_code_that_is_meant(text: str, tmp_path: Path) -> None:
    import ast

    folder = example_run_of(text, tmp_path)
    (code,) = re.findall(r"```python\n(.*?)\n```", card(read(folder), of_run(folder)), flags=re.DOTALL)
    calls = [node.func for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    assert {ast.unparse(call).rpartition(".")[2] for call in calls} <= {"from_pretrained", "merge_and_unload"}
    assert not [n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Import)]


@pytest.mark.parametrize("text", MARKDOWN, ids=ascii)
def test_a_study_shows_every_name_as_text(text: str) -> None:
    spread = Spread(50.0, 1.0, 2)
    names = ("target", "gain", "change", "kept", "matched", "area", "stage_one", "format_share")
    measured: dict[str, Any] = dict.fromkeys(names, spread)
    arms = [
        Cell(task=text, arm=arm, method="full", settings={}, seeds=2, level=None, **measured) for arm in (text, "full")
    ]
    written = markdown(Study(arms, answered=[TaskScore(text, text, text, "general", 0, 50.0, spread)]), text)
    assert not re.search(r"(?<!\\)[<>]", written)
    assert not re.search(r"(?<!\\)\]\(", written)
    assert sum(line.startswith("#") for line in written.splitlines()) == 2
    tables = re.findall(r"(?:^\|.*\n)+", written, flags=re.MULTILINE)
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1, table


@pytest.mark.parametrize("text", [f"a{RLO}b", f"{ESC}[2J", "a\u2066b"], ids=ascii)
def test_no_sentence_of_a_page_is_turned_round(text: str, tmp_path: Path) -> None:
    assert visible(written := page(read(example_run_of(text, tmp_path)))) == written


@pytest.mark.parametrize("text", ["plain", "Größe 3", "日本語", "a.b-c/d", "مرحبا"])
def test_ordinary_text_stays(text: str) -> None:
    assert visible(text) == text
    assert escaped(text) == text
