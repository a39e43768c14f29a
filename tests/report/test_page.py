"""The page: every number is a score's, in both directions; model output stays text; nothing is loaded from elsewhere."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from holdfast.report.compare.compare_page import write_comparison
from holdfast.report.run.page import write_page
from holdfast.report.template import code, key
from holdfast.results import units
from holdfast.results.run_folder import read
from holdfast.results.scores import read_outputs, read_scores, write_jsonl
from holdfast.results.summary import Summary
from tests.report import example_run

VOID = {"meta", "input", "br", "wbr", "link", "img"}
# Marks on elements whose digits are not a score's: names and prose, axis labels, the log's numbers, counts of outputs.
OTHER_SOURCES = {"data-text", "data-axis", "data-log", "data-outputs"}
CONSTANTS = {"95 %", "±5", "100"}  # the level of the intervals, the margin, "points of 100"


class Texts(HTMLParser):
    """(text, attributes of all enclosing elements, their tags) of every piece of text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.stack: list[tuple[str, dict[str, str | None]]] = []
        self.found: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        assert not self.stack, f"not closed: {self.stack}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack, f"</{tag}> closes nothing"
        opened, _ = self.stack.pop()
        assert opened == tag, f"<{opened}> closed by </{tag}>"

    def handle_data(self, data: str) -> None:
        merged = {name: value for _, attrs in self.stack for name, value in attrs.items()}
        self.found.append((data, merged, [tag for tag, _ in self.stack]))


def marked(html: str) -> Iterator[tuple[str, str, str]]:
    """(score's key, field, number as text) of everything on the page that says it is a score's."""
    for text, attributes, _ in Texts(html).found:
        if "data-field" in attributes and re.search(r"\d", text):
            yield str(attributes["data-score"]), str(attributes["data-field"]), text.strip().replace("−", "-")
    table = html.split('<table id="all-scores"')[1].split("</table>")[0]
    columns = re.findall(r'data-column="(\w*)"', table)
    for name, row in re.findall(r'<tr data-score="([^"]*)">(.*?)</tr>', table, re.S):
        cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S)
        assert len(cells) == len(columns)
        for field, text in zip(columns, cells, strict=True):
            if field and text:
                yield unescape(name), field, unescape(text).replace("−", "-")


def test_every_number_said_to_be_a_scores_is_that_scores(run: Path) -> None:
    scores = {key(score): score for score in read_scores(run)}
    shown = list(marked(write_page(run).read_text()))
    assert len(shown) > 500
    for name, field, text in shown:
        assert text == units.shown(scores[name], field)


def test_a_command_in_a_sentence_is_set_as_code_and_a_name_in_it_is_no_markup() -> None:
    """The bug: the page showed the terminal's backticks."""
    assert code("<b>: `--method full`, `x<y`.") == "&lt;b&gt;: <code>--method full</code>, <code>x&lt;y</code>."


def test_every_number_of_every_score_is_on_the_page(run: Path) -> None:
    shown = set(marked(write_page(run).read_text()))
    for score in read_scores(run):
        for field in (
            "value",
            "low",
            "high",
            "n",
            *(("delta", "delta_low", "delta_high") if score.delta is not None else ()),
        ):
            assert (key(score), field, units.shown(score, field)) in shown


def test_derived_numbers_are_those_of_the_summary(run: Path) -> None:
    summary = Summary.of(read_scores(run))
    found: dict[str, set[str]] = {}
    for text, attributes, _ in Texts(write_page(run).read_text()).found:
        if "data-derived" in attributes:
            found.setdefault(str(attributes["data-derived"]), set()).add(text.replace("−", "-"))
    assert summary.gain is not None
    assert summary.retention is not None
    assert summary.general_change is not None
    for name, estimate in (
        ("gain", summary.gain),
        ("retention", summary.retention),
        ("general_change", summary.general_change),
    ):
        limits = f"[{units.points(estimate.low)}, {units.points(estimate.high)}]"
        sizes = {units.points(estimate.value), units.points(estimate.value, True), f"{units.points(estimate.value)} %"}
        assert limits in found[name]
        assert found[name] <= {limits, *sizes}
    assert set(found) == {"gain", "retention", "general_change", "general_n", "collapse", "tasks", "sign", "means"}
    assert summary.mean_scores is not None
    assert found["means"] == {
        *(units.points(value) for pair in summary.mean_scores for value in pair),
        *(units.points(tuned - base, True) for base, tuned in summary.mean_scores),
    }


def test_no_number_is_on_the_page_without_a_source(run: Path) -> None:
    for text, attributes, tags in Texts(write_page(run).read_text()).found:
        if {"style", "script", "title", "desc", "head"} & set(tags):
            continue
        if not ({"data-field", "data-derived", "data-score"} | OTHER_SOURCES) & set(attributes):
            for constant in CONSTANTS:
                text = text.replace(constant, "")
            assert not re.search(r"\d", text), f"a number without a source: {text!r} in {tags}"


def test_model_output_is_text_never_markup(run: Path) -> None:
    attack = "<script>alert(1)</script><img src=x onerror=alert(1)></pre>{{ 7 * 7 }}"
    outputs = [replace(output, output=attack, input=attack, target=attack) for output in read_outputs(run)]
    write_jsonl(run / "outputs.jsonl", outputs)
    (run / "config.yaml").write_text(attack)
    for name in ("scores.jsonl", "outputs.jsonl"):
        (run / name).write_text((run / name).read_text().replace('"task": "trec"', '"task": "<script>t\\"|x</script>"'))
    html = write_page(run).read_text()
    parsed = Texts(html)
    assert [tag for tag, _ in parsed.tags].count("script") == 1
    assert "img" not in {tag for tag, _ in parsed.tags}
    assert html.count("&lt;script&gt;alert(1)") >= 4
    assert "{{ 7 * 7 }}" in html


def test_the_page_loads_nothing_and_allows_only_its_own_script(run: Path) -> None:
    for html in (write_page(run).read_text(), write_comparison([run], run).read_text()):
        parsed = Texts(html)
        for tag, attributes in parsed.tags:
            assert tag not in {"link", "img", "iframe", "object", "embed", "base"}
            assert not {"src", "srcset", "onclick", "onload"} & set(attributes)
            assert attributes.get("href", "#").startswith("#")  # pyright: ignore[reportOptionalMemberAccess]
        assert "url(" not in html
        assert "@import" not in html
        policy = next(attributes["content"] for _, attributes in parsed.tags if "http-equiv" in attributes)
        assert policy is not None
        assert policy.startswith("default-src 'none'")
        assert "unsafe-inline'; script-src 'sha256-" in policy


def test_the_policys_hash_is_the_scripts(run: Path) -> None:
    import base64
    import hashlib

    html = write_page(run).read_text()
    script = html.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html


def test_fifty_tasks_with_long_outputs_stay_under_two_megabytes(run: Path) -> None:
    scores, outputs = read_scores(run), read_outputs(run)
    long = [replace(output, output=output.output + " word" * 300, input="word " * 300) for output in outputs]
    more = ("collapse_share", "empty_share", "run_on_share", "modal_share", "distinct_1", "distinct_2", "length_ratio")
    symptoms = [replace(s, metric=name) for s in scores for name in more if s.metric == "format_share"]
    every = [replace(s, task=f"{s.task}-{copy}") for copy in range(8) for s in [*scores, *symptoms]]
    write_jsonl(run / "scores.jsonl", every)
    write_jsonl(run / "outputs.jsonl", [replace(o, task=f"{o.task}-{copy}") for copy in range(8) for o in long[::4]])
    assert write_page(run).stat().st_size < 2_000_000
    assert "symptoms are left out" not in write_page(run).read_text()


def test_of_very_many_scores_the_symptoms_are_left_out_and_that_is_said(run: Path) -> None:
    scores = [replace(s, task=f"{s.task}-{copy}") for copy in range(60) for s in read_scores(run)]
    write_jsonl(run / "scores.jsonl", scores)
    (run / "outputs.jsonl").unlink()
    html = write_page(run).read_text()
    symptoms = sum(units.is_symptom(score.metric) for score in scores)
    assert f"{symptoms} symptoms are left out here" in html
    assert html.count("<tr data-score=") == len(scores) - symptoms


@pytest.mark.parametrize(
    "missing", [["log.jsonl"], ["outputs.jsonl"], ["config.yaml"], ["log.jsonl", "outputs.jsonl", "config.yaml"]]
)
def test_a_page_says_what_is_absent(run: Path, missing: list[str]) -> None:
    for name in missing:
        (run / name).unlink()
    html = write_page(run).read_text()
    Texts(html)
    assert html.count("<li>") == len(missing)
    for name in missing:
        assert f"<li>{name} (" in html


@pytest.mark.parametrize("variant", ["base", "tuned"])
def test_one_half_of_a_comparison_still_gives_a_page(run: Path, variant: str) -> None:
    kept = [score for score in read_scores(run) if score.variant == variant]
    kept = [replace(score, delta=None, delta_low=None, delta_high=None) for score in kept]
    write_jsonl(run / "scores.jsonl", kept)
    html = write_page(run).read_text()
    Texts(html)
    assert "No change can be shown" in html
    assert "no general task was compared, so nothing can be said" in html


def test_odd_numbers_do_not_break_the_page(run: Path) -> None:
    scores = read_scores(run)
    odd = [replace(score, metric="perplexity", value=7.5, low=float("nan"), high=9.0) for score in scores[:3]]
    write_jsonl(run / "scores.jsonl", [*odd, *scores[3:]])
    records = [{"step": 1, "loss": 0.0}, {"step": 2, "loss": float("nan")}, {"step": 2, "validation": 0.5}]
    (run / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    html = write_page(run).read_text()
    Texts(html)
    assert html.count("Measured once") == 2


def test_the_page_is_the_same_byte_for_byte_and_leaves_nothing_half_written(run: Path) -> None:
    first = write_page(run).read_bytes()
    assert write_page(run).read_bytes() == first
    assert not list(run.glob("*.part"))


def test_the_comparison_marks_each_runs_numbers(tmp_path: Path, run: Path) -> None:
    other = example_run.make(tmp_path / "other", prompts=(None,), seed=1)
    html = write_comparison([run, other], tmp_path / "out", floor=0.9).read_text()
    scores = [{key(score): score for score in read(folder).scores} for folder in (run, other)]
    seen = set()
    for text, attributes, _ in Texts(html).found:
        if "data-field" in attributes and re.search(r"\d", text):
            place = int(str(attributes["data-run"])) - 1
            score = scores[place][str(attributes["data-score"])]
            assert text.replace("−", "-") == units.shown(score, str(attributes["data-field"]))
            seen.add((place, score.task, score.shots))
    assert len(seen) == 2 * 2 * len(example_run.TASKS)
    assert {"What changed, task by task", "Tasks and runs at a glance"} <= set(re.findall(r"<h2[^>]*>(.*?)</h2>", html))
    assert "missed" in html
    assert "held" in html


def test_the_course_is_shown_where_it_was_measured(run: Path) -> None:
    assert "Over the steps of training" not in write_page(run).read_text()
    scores = read_scores(run)
    along = [replace(s, step=step) for s in scores for step in (100, 300, 600) if s.variant == "tuned"]
    write_jsonl(run / "scores.jsonl", [*scores, *along])
    html = write_page(run).read_text()
    assert html.count('class="plot lines') == 4, "three over the steps, and what is kept at each target score"
    assert html.count('class="plot lines tall') == 1
    test_no_number_is_on_the_page_without_a_source(run)
    test_derived_numbers_are_those_of_the_summary(run)
