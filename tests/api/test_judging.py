"""`holdfast evaluate BASE --against TUNED --judge MODEL`: a scripted judge of known bias behind a server, from its replies to the page."""

import json
import random
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from holdfast.api.against import against
from holdfast.models.resolve import version
from holdfast.report.run.record import run_record
from holdfast.results.judged import JudgedTask, JudgeRecord, read_judge
from holdfast.results.scores import read_outputs
from holdfast.tasks.answers.judge_calibration import known_pairs
from tests.inference.fault_server import FaultServer, running

ITEMS = 150
BASE_RIGHT, TUNED_RIGHT = 0.75, 0.5
QUESTION = re.compile(r"Question:\n(.*)\n\nAnswer A:\n(.*)\n\nAnswer B:\n(.*)\n\nWhich answer", re.DOTALL)


def drawn(*parts: object) -> random.Random:
    """A stream of its own for each question, so that a repeated command is answered alike."""
    return random.Random("|".join(map(str, parts)))


def answer(model: str, number: int) -> str:
    """The base writes a number; the tuned model talks, and is right less often."""
    share = BASE_RIGHT if model == "base" else TUNED_RIGHT
    value = str(number + 1 if drawn(model, number).random() < share else number + 7)
    return value if model == "base" else f"After long and careful thought I would say that it is {value}"


@dataclass(frozen=True)
class Server:
    """Two models and a judge behind one address; the judge errs at these rates."""

    right: float = 0.9
    place: float = 0.1
    length: float = 0.35

    def write(self, body: dict[str, Any]) -> str:
        if body["model"] != "judge":
            return answer(body["model"], int(re.findall(r"\d+", body["prompt"])[-1]))
        match = QUESTION.search(body["messages"][0]["content"])
        assert match
        return self.decide(*match.groups())

    def decide(self, question: str, first: str, second: str) -> str:
        rng = drawn("judge", question, first, second)
        if rng.random() < self.place:
            return "A"
        if len(first) != len(second) and abs(len(first) - len(second)) > 10 and rng.random() < self.length:
            return "Answer A is better." if len(first) > len(second) else "Answer B is better."
        quality = truth(question, second) - truth(question, first)
        if quality == 0 or rng.random() >= self.right:
            return rng.choice(["A", "B", "C"]) if quality == 0 else ("A" if quality > 0 else "B")
        return "B" if quality > 0 else "A"


KNOWN = {(p.question, p.first): p for p in known_pairs()} | {(p.question, p.second): p for p in known_pairs()}


def truth(question: str, text: str) -> int:
    """1 for a right answer, else 0."""
    if pair := KNOWN.get((question, text)):
        return int(pair.truth == 0 or (pair.truth < 0) == (text == pair.first))
    return int(re.findall(r"\d+", text)[-1] == str(int(re.findall(r"\d+", question)[-1]) + 1))


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks") / "next"
    folder.mkdir()
    for split, count, begin in (("train", 4, 900), ("test", ITEMS, 100)):
        rows = [
            json.dumps({"input": f"Which number follows {begin + i}?", "target": str(begin + i + 1)})
            for i in range(count)
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def served() -> Iterator[FaultServer]:
    with running(FaultServer(Server().write)) as server:
        yield server


@pytest.fixture(scope="module")
def out(served: FaultServer, task: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished comparison."""
    folder = tmp_path_factory.mktemp("judged") / "out"
    judged(served, task, folder)
    return folder


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few pairs of one's own, to which a server replies in a second."""
    path = tmp_path_factory.mktemp("labels") / "labels.jsonl"
    rows = [
        {"question": f"Which number follows {n}?", "first": str(n + 1), "second": str(n + 5), "better": "first"}
        for n in range(200, 240)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def judged(server: FaultServer, task: Path, out: Path, **options: Any) -> JudgeRecord:
    names = [f"openai:{server.url}#{name}" for name in ("base", "tuned")]
    judge = f"openai:{server.url}/chat/completions#judge"
    (folder,) = against(names[0], names[1], task, shots=(0,), out=out, judge=judge, **options)
    record = read_judge(folder)
    assert record is not None
    return record


def real_share(folder: Path) -> float:
    """The share in which the tuned answer is better, equal ones counted half, by the task's own answers."""
    right: dict[str, dict[int, bool]] = {"base": {}, "tuned": {}}
    for output in read_outputs(folder):
        right[output.variant][output.index] = re.findall(r"\d+", output.output)[-1] == output.target
    return sum((1 + right["tuned"][i] - right["base"][i]) / 2 for i in range(ITEMS)) / ITEMS


def line(record: JudgeRecord) -> JudgedTask:
    (summary,) = record.summaries
    return summary


def test_the_correction_recovers_the_truth_of_a_judge_that_likes_long_answers_and_the_first(
    out: Path,
) -> None:
    record = read_judge(out)
    assert record is not None
    share, rate = real_share(out), line(record).rate
    assert share < 0.42, "the tuned model is the worse one"
    assert rate.raw.value > 0.5, "and the judge says that it is the better one"
    assert not rate.raw.low <= share <= rate.raw.high
    assert rate.corrected is not None
    assert rate.corrected.low <= share <= rate.corrected.high
    assert rate.corrected.value == pytest.approx(share, abs=0.1)
    assert rate.verdict == "base preferred"
    quality = record.quality
    assert quality.length is not None
    assert quality.length.low > 0.1
    assert record.decided == "its written replies"


def test_page_terminal_and_json_show_the_judge_with_what_it_is_worth(
    served: FaultServer, task: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from holdfast.cli.compare import against as show

    names = [f"openai:{served.url}#{name}" for name in ("base", "tuned")]
    judge = f"openai:{served.url}/chat/completions#judge"
    for as_json in (False, True):
        show(against(names[0], [names[1]], [task], shots=(0,), out=out, judge=judge), as_json)
    page, shown = (out / "report.html").read_text(), capsys.readouterr().out
    words = " ".join(shown.split())
    for text in (page, words):
        assert "the base's answers are preferred" in text.replace("&#39;", "'")
        assert "240 pairs with known answers" in text
        assert "The longer answer" in text.replace("the longer answer", "The longer answer")
    objects = [json.loads(text) for text in shown.splitlines() if text.startswith("{")]
    (last,) = [entry for entry in objects if "judged" in entry]
    assert last["judged"]["tasks"][0]["rate"]["verdict"] == "base preferred"
    assert last["judged"]["quality"]["accuracy"]["value"] > 0.6


def test_a_coin_gives_no_verdict_and_no_corrected_number(task: Path, labels: Path, tmp_path: Path) -> None:
    with running(FaultServer(Server(right=0.5, length=0.0).write)) as server:
        record = judged(server, task, tmp_path / "out", judge_labels=labels)
    assert line(record).rate.verdict == "no verdict"
    assert line(record).rate.corrected is None
    assert "may be no better than chance" in record.quality.reason
    assert "No verdict: of this judge, on 40 pairs" in (tmp_path / "out" / "report.html").read_text()


def test_a_stopped_command_goes_on_without_asking_again(task: Path, labels: Path, tmp_path: Path) -> None:
    """The server refuses in the middle of the judge's questions."""
    options: dict[str, Any] = {"judge_labels": labels, "limit": 40}
    server = FaultServer(Server().write, lambda number, body: "401" if number > 200 else None)
    with running(server):
        with pytest.raises(ValueError, match="401"):
            judged(server, task, tmp_path / "out", **options)
        server.fault = lambda number, body: None
        record = judged(server, task, tmp_path / "out", **options)
        # 80 of the models, 80 of the labels and 80 of the pairs, and those that were under way when the server refused.
        assert 240 <= len(server.bodies) <= 240 + 16
        before = len(server.bodies)
        assert judged(server, task, tmp_path / "out", **options) == record
        assert len(server.bodies) == before, "a finished judgement is not asked again"
        whole = judged(server, task, tmp_path / "whole", **options)
    assert line(whole).rate == line(record).rate


def test_other_answers_take_the_judgement_away(served: FaultServer, task: Path, out: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(out, tmp_path / "out"))
    with (folder / "outputs.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(ValueError, match=r"judge.json: the judge saw other answers than outputs.jsonl has now"):
        read_judge(folder)
    names = [f"openai:{served.url}#{name}" for name in ("base", "tuned")]
    against(names[0], names[1], task, shots=(0,), out=folder)
    assert read_judge(folder) is None


def test_a_judge_that_is_here_decides_by_log_probabilities(
    served: FaultServer, task: Path, labels: Path, tmp_path: Path
) -> None:
    names = [f"openai:{served.url}#{name}" for name in ("base", "tuned")]
    (folder,) = against(
        names[0], names[1], task, shots=(0,), out=tmp_path / "out", judge="lab", judge_labels=labels, limit=8
    )
    record = read_judge(folder)
    assert record is not None
    assert record.decided == "log-probabilities"
    assert record.judge.version == version("lab")
    assert record.quality.reason, "a model that has learned a small world of its own cannot judge this one"
    assert run_record(folder).judged.startswith("No verdict")
    (folder / "judge.json").write_text('{"judge": ' + "[" * 5000)
    with pytest.raises(
        ValueError, match=r"judge.json: is not what a judge left; give the command of the comparison again"
    ):
        run_record(folder)


def test_labels_of_ones_own_measure_the_judge(served: FaultServer, task: Path, labels: Path, tmp_path: Path) -> None:
    record = judged(served, task, tmp_path / "out", judge_labels=labels, limit=20)
    assert (record.calibration.argument, record.quality.known) == (str(labels), 40)
    assert record.quality.length is None
    assert "a preference for long answers would not be seen" in (tmp_path / "out" / "report.html").read_text()
    few = tmp_path / "few.jsonl"
    few.write_text("".join(labels.read_text().splitlines(keepends=True)[:19]))
    with pytest.raises(ValueError, match="19 pairs with a better answer"):
        judged(served, task, tmp_path / "few", judge_labels=few)


def test_what_cannot_be_judged_is_one_clear_line_before_anything_is_asked(task: Path, tmp_path: Path) -> None:
    served = FaultServer(Server().write)
    with running(served):
        refusals(served, task, tmp_path / "out")
    assert served.bodies == []
    assert not (tmp_path / "out").exists()


def refusals(served: FaultServer, task: Path, out: Path) -> None:
    base, tuned = (f"openai:{served.url}#{name}" for name in ("base", "tuned"))
    for judge in (base, tuned):
        with pytest.raises(ValueError, match="is one of the models that it would judge"):
            against(base, tuned, task, out=out, judge=judge)
    with pytest.raises(ValueError, match="no/such/judge"):
        against(base, tuned, task, out=out, judge="no/such/judge")
    with pytest.raises(ValueError, match="compares written answers"):
        against(base, tuned, "everyday:sentiment", out=out, judge=f"{base}-judge")
