"""S3FT: own answers where they are right, else paraphrases, else gold; each row says which; and a whole run by it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.api.tune import tune
from holdfast.curation.base import CurationContext
from holdfast.curation.s3ft import S3ft
from holdfast.inference.model import Model
from holdfast.plugins import CURATIONS, configure
from holdfast.tasks.task import Example, Task, Template
from tests.recipes.worlds import QUICK, write_world
from tests.training import tiny

EXAMPLES = (
    Example({"input": "capital of France"}, "Paris"),
    Example({"input": "capital of Italy"}, "Rome", answers=("Rome", "Roma")),
    Example({"input": "capital of Peru"}, "Lima"),
    Example({"input": "capital of Chile"}, "Santiago"),
)
TASK = Task("capitals", {"train": EXAMPLES})


class Oracle:
    """Answers from a table: what is asked for, and the paraphrase."""

    tokenizer = None

    def __init__(self, own: dict[str, str], paraphrase: dict[str, str]) -> None:
        self.own, self.paraphrase = own, paraphrase
        self.asked: list[str] = []

    def generate(self, texts: list[str], sampling: Any) -> list[str]:
        self.asked += texts
        return [
            next(
                (
                    answer
                    for key, answer in (self.paraphrase if "A right answer" in text else self.own).items()
                    if key in text
                ),
                "",
            )
            for text in texts
        ]

    def count_tokens(self, texts: list[str]) -> list[int]:
        return [len(text.split()) for text in texts]


def curate(model: Any, **settings: Any) -> list[tuple[str, str]]:
    rows = S3ft(**settings)(EXAMPLES, CurationContext(TASK, model=model))
    return [(row.origin.partition(":")[0], row.target) for row in rows]


def test_own_answers_then_paraphrases_then_gold() -> None:
    own = {"France": " paris.\nMore", "Italy": " Roma", "Peru": " Cusco", "Chile": ""}
    model = Oracle(own, {"Peru": " The Lima", "Chile": " Valparaiso"})
    assert curate(model) == [("own", "paris."), ("own", "Roma"), ("paraphrase", "The Lima"), ("gold", "Santiago")]
    assert [text.startswith("capital of") for text in model.asked] == [True] * 6
    assert curate(Oracle(own, {}), paraphrase="")[2:] == [("gold", "Lima"), ("gold", "Santiago")]


class Brief(Model):
    """A model whose answers are a word long, so that none is cut."""

    def generate(self, texts: Any, sampling: Any = None, *, progress: Any = None) -> list[str]:
        return super().generate(texts, replace(sampling, max_new_tokens=1), progress=progress)


def test_own_answers_are_likelier_than_gold_to_the_model_that_is_trained(tmp_path: Path) -> None:
    """That is what own answers are for: they move the weights least. A greedy word is the likeliest behind its prompt; one that belongs
    to another question, or was written behind another prompt, is not."""
    (tmp_path / "mine.py").write_text("def any_answer(answer, example):\n    return True\n")
    model = Brief(tiny.pretrained())
    rows = tuple(Example({"input": f"w{3 + i} w{9 + i}"}, f"w{20 - i}") for i in range(8))
    task = Task("t", {"train": rows}, Template("{{ input }} w8", stop=()))
    made = S3ft(judge=f"{tmp_path / 'mine.py'}:any_answer")(rows, CurationContext(task, model=model))
    assert [row.origin.partition(":")[0] for row in made] == ["own"] * 8

    def likelihoods(examples: Sequence[Example]) -> list[float]:
        pairs = [(f"{row.fields['input']} w8", f" {row.target}") for row in examples]
        return [score.value for score in model.loglikelihood(pairs)]

    assert all(own >= gold for own, gold in zip(likelihoods(made), likelihoods(rows), strict=True))
    assert sum(likelihoods(made)) > sum(likelihoods(rows)) + 1


def test_a_model_that_is_never_right_leaves_the_data_as_it_was() -> None:
    rows = S3ft()(EXAMPLES, CurationContext(TASK, model=Oracle({}, {})))  # pyright: ignore[reportArgumentType]
    assert tuple(rows) == EXAMPLES
    assert [row.origin for row in rows] == [f"gold: capitals/train[{i}]" for i in range(4)]


def test_an_answer_that_was_cut_is_not_right() -> None:
    """Its first words may be right; the rest would teach the model to go on and on."""
    assert curate(Oracle({"France": "Paris " * 4}, {}), judge="f1", threshold=0.1)[0] == ("gold", "Paris")
    assert curate(Oracle({"France": "Paris of France"}, {}), judge="f1", threshold=0.5)[0] == ("own", "Paris of France")
    assert curate(Oracle({"France": "Paris of France"}, {}), judge="f1", threshold=0.51)[0] == ("gold", "Paris")


def test_an_answer_among_choices_is_one_of_them() -> None:
    task = Task("t", {"train": (Example({"input": "x"}, "Yes", ("Yes", "No")),)})
    (row,) = S3ft()(task.splits["train"], CurationContext(task, model=Oracle({"x": "yes"}, {})))  # pyright: ignore[reportArgumentType]
    assert (row.target, row.origin) == ("Yes", "gold: t/train[0]")


def own(judge: str, answer: str, gold: str = "1,234", **settings: Any) -> bool:
    """Whether the judge takes the model's answer, so that it is trained on in the place of gold."""
    task = Task("t", {"train": (Example({"input": "x"}, gold, answers=(gold, "12")),)})
    fields = {"judge": judge, "length": 99.0, "paraphrase": ""} | settings
    (row,) = S3ft(**fields)(task.splits["train"], CurationContext(task, model=Oracle({"x": answer}, {})))  # pyright: ignore[reportArgumentType]
    assert row.target == (answer if row.origin.startswith("own") else gold)
    return row.origin.startswith("own")


@pytest.mark.parametrize(
    ("judge", "right", "wrong"),
    [
        ("exact", ["1,234", "12"], ["1234", "12.", "The 12"]),
        ("answer", ["1234", "12.", "The 12"], ["13", "about 12"]),
        ("number", ["so it is 1234.", "5 + 7 = 12.0", "-3 and then 12"], ["12 or 13", "twelve", "-12"]),
    ],
)
def test_each_judge_takes_what_it_says(judge: str, right: list[str], wrong: list[str]) -> None:
    assert [own(judge, answer) for answer in right] == [True] * len(right)
    assert [own(judge, answer) for answer in wrong] == [False] * len(wrong)


def test_a_function_of_the_users_judges_with_the_example(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def first(answer, example):\n    return answer[0] == example.target[0]\n")
    assert own(f"{path}:first", "1 and more")
    assert not own(f"{path}:first", "2 and more")


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ("anser", "unknown judge 'anser'; did you mean 'answer'"),
        ("nowhere.py:f", "there is no file nowhere.py"),
        ("MINE:g", r"defines no function g\(answer, example\)"),
    ],
)
def test_a_judge_that_does_not_exist_is_refused_before_anything_is_asked(
    judge: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def f(answer, example):\n    return True\n")
    with pytest.raises(ValueError, match=message):
        configure(CURATIONS, "s3ft", {"judge": judge.replace("MINE", str(path))}, "curate")


def test_self_sft_keeps_the_own_right_answers_alone() -> None:
    model = Oracle({"France": "Paris", "Italy": "Milan", "Peru": "Lima."}, {"Italy": "Rome"})
    assert curate(model, paraphrase="", otherwise="drop") == [("own", "Paris"), ("own", "Lima.")]
    assert len(model.asked) == 4
    assert curate(Oracle({}, {}), paraphrase="", otherwise="drop") == []


def test_a_curated_run_trains_on_what_the_base_generates_and_keeps_the_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = write_world(tmp_path, pick=["w3", "w4"], copy=None)
    given = {k: v for k, v in QUICK.items() if k.startswith("model.")} | {"shots": (0,), "limit": 4}
    run = tune(
        world / "model", world / "copy", "full", world / "pick", curate="s3ft", out=tmp_path / "run",
        **given, **{"curate.judge": "f1", "curate.threshold": 0.01, "curate.shots": 1},
    )  # fmt: skip
    rows = [json.loads(line) for line in (run.folder / "data" / "train.jsonl").read_text().splitlines()]
    plain = [json.loads(line) for line in (world / "copy" / "train.jsonl").read_text().splitlines()]
    assert len(rows) == len(plain)
    assert f"curated: copy: {len(plain)} training examples -> {len(rows)}: " in capsys.readouterr().err
    assert {row["origin"].partition(":")[0] for row in rows} <= {"own", "paraphrase", "gold"}
    assert (run.config["curate"], run.config["stages"]["curate"]["shots"]) == ("s3ft", 1)
    assert {s.recipe for s in run.scores} == {"full|curate=s3ft"}
    assert {(s.variant, s.task) for s in run.scores} >= {("tuned", "copy"), ("tuned", "pick"), ("base", "copy")}


def test_an_unknown_field_is_refused(tmp_path: Path) -> None:
    world = write_world(tmp_path, copy=None)
    with pytest.raises(ValueError, match=r"'curate.judje'; did you mean 'curate.judge'"):
        tune(world / "model", world / "copy", "full", curate="s3ft", out=tmp_path / "run", curate_={"judje": "f1"})
    assert not (tmp_path / "run").exists()
