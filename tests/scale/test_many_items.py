"""Evaluations of many items: memory that does not grow with them, answers that survive a kill, several processes, and the same scores."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import many
from holdfast.api import evaluate as api
from holdfast.evaluation import answer_files
from holdfast.evaluation.answer_files import AskedTask, Share, ask_cells, join
from holdfast.evaluation.matrix import PART, Asking
from holdfast.evaluation.progress import AskingProgress
from holdfast.report.run.page import write_page
from holdfast.results import cell_answers, run_folder
from holdfast.results.cell_answers import CellAnswers
from holdfast.results.compute_scores import score
from holdfast.results.metrics import metric
from holdfast.results.scores import Output
from holdfast.results.statistics import paired, pseudovalues, single
from holdfast.stages import evaluate
from holdfast.tasks.answers.choice_rules import RULES, marked_by
from holdfast.tasks.examples.splits import subset
from holdfast.tasks.formats import stored
from holdfast.tasks.loaders import readers
from holdfast.tasks.sources import load_task
from holdfast.tasks.task import Task
from holdfast.tasks.task_set import TaskRef

ITEMS = 3 * PART + 100


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return many.task(tmp_path / "task", ITEMS, choices=False)


@pytest.fixture(autouse=True)
def script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "asking", many.scripted)


def content(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and ".lock" not in path.name]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


class Killed(many.Scripted):
    """Answers so many questions, then the process dies."""

    def __init__(self, answers: int) -> None:
        self.left = answers

    def generate(self, texts: Sequence[str], *arguments: Any, **options: Any) -> list[str]:
        if self.left < len(texts):
            raise KeyboardInterrupt
        self.left -= len(texts)
        return super().generate(texts, *arguments, **options)


def test_a_killed_evaluation_asks_only_what_is_missing_and_ends_with_the_same_bytes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api.evaluate("scripted", folder, shots=(0,), out=tmp_path / "whole")

    def dies_after(answers: int) -> Killed:
        model = Killed(answers)

        @contextmanager
        def asking(*_: object, **__: object) -> Iterator[Killed]:
            yield model

        monkeypatch.setattr(api, "asking", asking)
        return model

    for answers in (2 * PART, 0, PART):
        dies_after(answers)
        with pytest.raises(KeyboardInterrupt):
            api.evaluate("scripted", folder, shots=(0,), out=tmp_path / "killed")
        assert not (tmp_path / "killed" / "scores.jsonl").exists()
    model = dies_after(100)  # what the three left
    capsys.readouterr()
    api.evaluate("scripted", folder, shots=(0,), out=tmp_path / "killed")
    assert model.left == 0
    assert f"{ITEMS} items, {3 * PART} of them asked before" in capsys.readouterr().err
    assert content(tmp_path / "killed") == content(tmp_path / "whole")


def test_what_was_asked_otherwise_is_asked_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bug: answers of another seed, limit or task in one result."""
    files = answer_files.ask_cells
    kept: list[Path] = []

    def ask(cells: Any, parts: Path, *arguments: Any, **options: Any) -> Any:
        kept.append(parts)
        return files(cells, parts, *arguments, **options)

    monkeypatch.setattr(api, "ask_cells", ask)
    ways: tuple[dict[str, Any], ...] = (
        {},
        {"limit": 5},
        {"limit": 5, "seed": 1},
        {"shots": (1,), "demonstrations": "sampled"},
    )
    for options in ways:
        if "shots" in options:
            shutil.copy(folder / "test.jsonl", folder / "train.jsonl")
            options["limit"] = 5
        options.setdefault("shots", (0,))
        api.evaluate("scripted", folder, out=tmp_path / "out", overwrite=True, **options)
    with (folder / "test.jsonl").open("a") as file:
        file.write('{"input": "Repeat the number that stands here: 7", "target": "7"}\n')
    api.evaluate(
        "scripted", folder, out=tmp_path / "out", limit=5, shots=(1,), demonstrations="sampled", overwrite=True
    )
    assert len(set(kept)) == len(kept) == 5


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_that_share_the_parts_leave_the_files_of_one(folder: Path, tmp_path: Path, processes: int) -> None:
    """In turn here; tests/scale/test_processes.py launches real ones."""
    task = load_task(str(folder))
    cells = [AskedTask(task, Asking(limit=limit)) for limit in (None, 10, 2 * PART)]

    def ask(share: Share, name: str) -> list[list[Path]]:
        with AskingProgress("", [len(task.splits["test"])] * 3, silent=True) as progress:
            return ask_cells(cells, tmp_path / name, many.Scripted, progress, share=share)  # pyright: ignore[reportArgumentType]

    alone = ask(Share(), "alone")
    asked = [ask(Share(index, processes), "shared") for index in range(processes)]
    assert all(files == asked[0] for files in asked)
    for first, second in zip(alone, asked[0], strict=True):
        join(first, tmp_path / "first.jsonl")
        join(second, tmp_path / "second.jsonl")
        assert (tmp_path / "first.jsonl").read_bytes() == (tmp_path / "second.jsonl").read_bytes()


def check_alike(streamed: Task, held: Task) -> None:
    """Check that a task stays on the disk, all parts of it, and is the same as one in memory."""
    assert (streamed.version, streamed.metric, streamed.template) == (held.version, held.metric, held.template)
    assert list(streamed.splits) == list(held.splits)
    for split, examples in streamed.splits.items():
        assert isinstance(examples, stored.Mapped)
        assert tuple(examples) == held.splits[split]


def test_a_task_that_stays_on_the_disk_is_the_task_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "task"
    folder.mkdir()
    lines = [
        json.dumps({"input": f"word {i}", "target": f"answer {i % 7}", "choices": [f"answer {k}" for k in range(7)]})
        for i in range(700)
    ]
    (folder / "test.jsonl").write_bytes(b"\xef\xbb\xbf" + "\n".join([*lines[:300], "", " ", *lines[300:], ""]).encode())
    (folder / "train.jsonl").write_text("\n".join(lines[:20]))
    held = load_task(str(folder))
    monkeypatch.setattr(readers, "LARGE", 0)
    streamed = load_task(str(folder))
    check_alike(streamed, held)
    ours, theirs = streamed.splits["test"], held.splits["test"]
    for index in (0, 299, 300, 511, 512, 699, -1):
        assert ours[index] == theirs[index]
    for part in (slice(0, 3), slice(250, 520), slice(690, 900), slice(None), slice(5, 600, 100), slice(9, 2)):
        assert tuple(ours[part]) == theirs[part]
    with pytest.raises(IndexError):
        ours[700]


LETTERED = [
    {"input": f"word {i % 300}", "target": f"answer {i % 7}", "choices": [f"answer {k}" for k in range(7)], "id": i}
    for i in range(700)
]


@pytest.mark.parametrize("suffix", [".jsonl", ".tsv"])
def test_a_single_file_that_stays_on_the_disk_is_split_as_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """The bugs: an item under another one's number, a question on two sides, other parts than in memory."""
    path = tmp_path / f"task{suffix}"
    if suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in LETTERED))
    else:
        path.write_text("input\ttarget\n" + "".join(f"{row['input']}\t{row['target']}\n" for row in LETTERED))
    held, other = load_task(str(path)), load_task(str(path), seed=1)
    monkeypatch.setattr(readers, "LARGE", 0)
    streamed = load_task(str(path))
    check_alike(streamed, held)
    check_alike(load_task(str(path), seed=1), other)
    assert streamed.version != other.version
    for split, examples in streamed.splits.items():
        theirs = held.splits[split]
        for index in (0, 17, len(theirs) // 2, -1):
            assert examples[index] == theirs[index]
        assert tuple(examples[3:40:5]) == theirs[3:40:5]
    # Some of the training examples, and what the settings of a folder leave.
    check_alike(subset(streamed, 100, 1.0, 0), subset(held, 100, 1.0, 0))


@pytest.mark.parametrize("yaml", ["keep: id % 3 == 1", "limit: 50", "limit: 100\nkeep: id > 200"])
def test_a_chosen_part_of_a_file_that_stays_on_the_disk_is_that_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, yaml: str
) -> None:
    folder = tmp_path / "task"
    folder.mkdir()
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in LETTERED))
    (folder / "task.yaml").write_text(yaml)
    held = load_task(str(folder))
    monkeypatch.setattr(readers, "LARGE", 0)
    check_alike(load_task(str(folder)), held)


def test_letters_and_disguises_of_a_task_that_stays_on_the_disk_are_those_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "task.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in LETTERED))
    held = load_task(str(path))
    disguised = load_task(f"leetspeak:{path}")
    monkeypatch.setattr(readers, "LARGE", 0)
    streamed = load_task(str(path))
    for rule in RULES:
        check_alike(marked_by(streamed, rule), marked_by(held, rule))
    check_alike(load_task(f"leetspeak:{path}"), disguised)
    many_choices = [*LETTERED, {"input": "x", "target": "0", "choices": [str(k) for k in range(30)]}]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in many_choices))
    with pytest.raises(ValueError, match=r"task/\w+\[\d+\] has 30 choices, and there are 26 letters"):
        marked_by(load_task(str(path)), "accuracy_letter")


def check_refused_alike(folder: Path, match: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that a task is refused in the same words in memory and on the disk."""
    said = []
    for large in (stored.LARGE, 0):
        monkeypatch.setattr(readers, "LARGE", large)
        with pytest.raises(ValueError, match=match) as error:
            load_task(str(folder))
        said.append(str(error.value))
    assert said[0] == said[1]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_a_table_that_stays_on_the_disk_is_the_table_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """Cells of several lines, blank rows and a byte order mark: what moves the place at which a row begins."""
    folder = tmp_path / "task"
    folder.mkdir()
    rows = [f'"word {i}{ends * (i % 3)}, or ""two""",answer {i % 7}' for i in range(700)]
    text = ends.join(["input,target", *rows[:300], "", *rows[300:], ""])
    (folder / "test.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    held = load_task(str(folder))
    monkeypatch.setattr(readers, "LARGE", 0)
    streamed = load_task(str(folder))
    ours, theirs = streamed.splits["test"], held.splits["test"]
    assert isinstance(ours, stored.Mapped)
    assert streamed.version == held.version
    assert tuple(ours) == theirs
    assert len(theirs) == 700
    for index in (0, 255, 256, 299, 300, 512, 699, -1):
        assert ours[index] == theirs[index]
    (folder / "test.csv").write_bytes((text + f'a{ends}b,"c"d').encode())
    check_refused_alike(folder, r"test\.csv:\d+: has 1 cells, the header 2", monkeypatch)


def test_bad_lines_of_a_large_file_are_named_as_those_of_a_small_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "task"
    folder.mkdir()
    bad = ["{", "[1]", '{"input": "x"}', '{"input": "x", "target": ""}', '{"input": "\\ud800", "target": "y"}']
    (folder / "test.jsonl").write_text("\n".join(['{"input": "a", "target": "b"}', "", *bad]))
    check_refused_alike(folder, r"test\.jsonl:3: not JSON", monkeypatch)
    (folder / "test.jsonl").write_bytes(b'{"input": "a", "target": "b"}\n' * 1000 + b"\xff")
    check_refused_alike(folder, r"test\.jsonl: is not UTF-8 text \(byte 30000\)", monkeypatch)


def test_a_file_that_is_written_to_while_it_is_asked_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "LARGE", 0)
    task = load_task(str(folder))
    with (folder / "test.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(ValueError, match="was written to while it was read; give the command again"):
        task.splits["test"][5]


def test_a_page_of_many_items_holds_an_even_part_of_them_and_says_so(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.evaluate("scripted", folder, shots=(0,), out=tmp_path / "out")
    whole = run_folder.read(tmp_path / "out")
    assert len(whole.outputs) == ITEMS
    assert not any("evenly spaced" in sentence for sentence in whole.absent)
    monkeypatch.setattr(run_folder, "SHOWN", 1000)
    part = run_folder.read(tmp_path / "out")
    assert [output.index for output in part.outputs] == list(range(0, ITEMS, 4))
    assert part.scores == whole.scores
    said = [sentence for sentence in part.absent if "evenly spaced" in sentence]
    assert said == [
        "2,379 answers of many: examples and counts of single items are of 793 others, evenly spaced; the scores are of all, and all stand "
        "in outputs.jsonl."
    ]
    assert "2,379 answers of many" in write_page(tmp_path / "out").read_text()


# Statistics beyond the items that are held one by one.


def outputs(values: Sequence[float], variant: str, name: str) -> list[Output]:
    return [
        Output(
            variant, None, "t", "target", 0, i, f"q{i}", "y", "y" if value == 1 else "n", scores={name: float(value)}
        )
        for i, value in enumerate(values)
    ]


def filled(name: str, answers: Sequence[Output]) -> CellAnswers:
    cell = CellAnswers(answers[0], metric(name), keep=False)
    for answer in answers:
        cell.add(answer)
    return cell


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell_answers, "LARGEST", 1000)
    monkeypatch.setattr(cell_answers, "GROUPS", 500)


def test_shares_of_many_items_have_the_same_scores_to_the_last_digit(
    small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(0)
    base, tuned = (draw.random(2500) < 0.6).tolist(), (draw.random(2500) < 0.65).tolist()
    answers = outputs(base, "base", "") + outputs(tuned, "tuned", "")
    task = Task("t", {"test": ()}, metric="exact_match")
    grouped = score(answers, [task])
    monkeypatch.setattr(cell_answers, "LARGEST", 100_000)
    for ours, theirs in zip(grouped, score(answers, [task]), strict=True):
        for field in (
            "value",
            "low",
            "high",
            "n",
            "stderr",
            "delta",
            "delta_low",
            "delta_high",
            "p",
            "verdict",
            "needed",
            "signature",
        ):
            assert getattr(ours, field) == getattr(theirs, field), field
        # Of groups: an estimate of the same number, here of 500 groups, whose own noise is 1 / sqrt(250).
        assert ours.covariances == pytest.approx(theirs.covariances, rel=0.3, abs=1.5e-5)


@pytest.mark.parametrize("name", ["recorded:f1", "bleu"])
def test_other_metrics_of_many_items_have_the_same_value_and_intervals_as_wide(small: None, name: str) -> None:
    """The value is that of all items. Limits and errors are estimated from 500 groups in the place of 5,000 items, and move by that
    noise: 1 / sqrt(2 * 500) = 3 % of the width, three times that here. The bug: groups taken for items, or n for the number of
    groups, whose intervals are three times too wide or too narrow."""
    draw = np.random.default_rng(1)
    words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog"]

    def text(i: int, noise: float) -> str:
        return " ".join(words[(i + k) % 9] if draw.random() > noise else "word" for k in range(8))

    rows = [
        [
            Output(
                variant,
                None,
                "t",
                "target",
                0,
                i,
                f"q{i}",
                text(i, 0),
                text(i, noise),
                scores={"f1": draw.beta(2, 2) * (1 - noise)},
            )
            for i in range(5000)
        ]
        for variant, noise in (("base", 0.3), ("tuned", 0.28))
    ]
    measure = metric(name)
    cells = [filled(name, row) for row in rows]
    items = [measure.statistics(row) for row in rows]
    assert all(len(cell.units()) == 500 for cell in cells)
    ours, theirs = cells[1].estimate(0, 2000), single(measure, items[1], resamples=2000)
    moved = paired(measure, cells[0].units(cells[1]), cells[1].units(cells[0]), n=5000, resamples=2000)
    change = paired(measure, items[0], items[1], resamples=2000)
    for one, other in ((ours, theirs), (moved, change)):
        assert one.value == pytest.approx(other.value, rel=1e-9)
        assert one.n == other.n == 5000
        assert one.stderr == pytest.approx(other.stderr, rel=0.1)
        assert one.high - one.low == pytest.approx(other.high - other.low, rel=0.1)
    spread = pseudovalues(measure, items[1]).var() / 5000
    assert cells[1].parts().var() / 500 == pytest.approx(spread, rel=0.2)


def test_cells_of_many_items_that_were_asked_otherwise_are_told_apart(small: None) -> None:
    answers = outputs([1] * 1500, "base", "")
    first, same = filled("exact_match", answers), filled("exact_match", answers)
    assert (first.items, first.questions) == (same.items, same.questions)
    other = [
        *answers[:1400],
        *(Output("base", None, "t", "target", 0, o.index, "other words", "y", "y") for o in answers[1400:]),
    ]
    assert filled("exact_match", other).questions != first.questions
    assert filled("exact_match", other).items == first.items
    assert filled("exact_match", answers[:-1]).items != first.items
    with pytest.raises(ValueError, match="must stand in the order of the items"):
        filled("exact_match", [*answers, answers[3]])


def test_probabilities_of_labels_are_written_and_read_part_by_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than one block that is read, and more than one part that is asked: each must stay with its own item."""
    general = many.task(tmp_path / "general", ITEMS, choices=False)
    target = tmp_path / "target"
    target.mkdir()
    (target / "test.jsonl").write_text('{"input": "a", "target": "yes"}\n{"input": "b", "target": "no"}\n' * 4)
    asked: list[int] = []

    def with_mass(model: Any, task: Task, labels: Sequence[str], answers: Sequence[Output]) -> list[Output]:
        asked.append(len(answers))
        return [replace(o, scores={**o.scores, "first_token_mass": o.index / 7}) for o in answers]

    monkeypatch.setattr(evaluate, "BLOCK", 1000)
    monkeypatch.setattr(evaluate, "with_mass", with_mass)
    monkeypatch.setattr(evaluate.Evaluate, "asking", many.scripted)
    monkeypatch.setattr(evaluate.Evaluate, "load", lambda *_: many.Scripted())
    stage = evaluate.Evaluate("evaluate-base", "lab", tasks=(TaskRef(str(general), "general"),))
    marked = evaluate.LabelMass("label-mass-base", stage, TaskRef(str(target))).outputs(tmp_path)
    for _ in range(2):  # Gone through twice, as a run does.
        assert [o.scores["first_token_mass"] for o in marked] == [i / 7 for i in range(ITEMS)]
    assert asked == [PART] * 3 + [100]
    (written,) = tmp_path.glob("label-mass-base-*/mass.json")
    assert written.stat().st_size > 2 * 1000, "several blocks"
    assert json.loads(written.read_text()) == [i / 7 for i in range(ITEMS)]


@pytest.mark.slow  # 20 s each
@pytest.mark.parametrize("form", ["folder", "file", "letters"])
def test_more_items_take_the_same_memory(form: str) -> None:
    """Each size in a process of its own, both on the disk. Held items would take 1.7 kB each, 170 MB more; the noise of the heap is a few
    MB, and the order of a single file's parts takes some 100 bytes a line while it is made, 10 MB."""
    from benchmarks import harness

    memory = [
        harness.in_process(f"from benchmarks import many; many.evaluation({items}, form={form!r})")["memory"]
        for items in (60_000, 160_000)
    ]
    assert memory[1] - memory[0] < 20e6, memory
