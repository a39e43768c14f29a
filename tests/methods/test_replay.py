"""Replay: general text has exactly its share of the loss, is drawn by step, and is off when off."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.api.request import Request, plan_run
from holdfast.methods.base import Context
from holdfast.methods.full import Full
from holdfast.methods.replay import Replay
from holdfast.prefix.model import PrefixModel
from holdfast.recipes.find import find_recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.recipes.techniques import Techniques
from holdfast.row import Row
from holdfast.stages.stage import configuration
from holdfast.tasks.task_set import TaskRef
from tests import encoder_decoder
from tests.training import tiny

CONTEXT = Context(PrefixModel(tiny.pretrained().model), tiny.pretrained())
TEXTS = ["w3 w4 w5 w6 w7 w8 w9 w10", "w11 w12", "w13 w14 w15 w16", "w17"]


@pytest.fixture
def texts(tmp_path: Path) -> str:
    path = tmp_path / "general.txt"
    path.write_text("\n".join(TEXTS) + "\n")
    return str(path)


def ready(method: Replay) -> Replay:
    """The method after `prepare`."""
    method.prepare(CONTEXT)
    return method


def weight(rows: list[Row]) -> float:
    return sum(sum(row.weights) for row in rows)


def test_texts_have_their_share_of_the_weight_whatever_the_lengths(texts: str) -> None:
    method = ready(Replay(texts=texts))

    @settings(max_examples=50, deadline=None)
    @given(count=st.integers(1, 40), rate=st.floats(0.01, 0.95))
    def holds(count: int, rate: float) -> None:
        method.rate = rate
        given_rows = tiny.rows(count)
        rows = [*given_rows, *method.added_rows(given_rows, CONTEXT)]
        added = rows[count:]
        assert rows[:count] == given_rows
        assert len(added) == max(1, round(rate / (1 - rate) * count))
        # 1e-9: rounding of float64 sums; one token's weight too many would be above 1e-4.
        assert weight(added) / weight(rows) == pytest.approx(rate, abs=1e-9)
        assert all(row.prompt is None and row.weights[0] == 0 and min(row.weights[1:]) > 0 for row in added)

    holds()


def test_texts_are_cut_and_single_tokens_left_out_and_named_by_their_line(texts: str) -> None:
    method = ready(Replay(texts=texts, text_length=3))
    assert [row.tokens for row in method._sources[0].rows] == [(3, 4, 5), (11, 12), (13, 14, 15)]
    assert method._sources[0].rows[2].name == f"{texts}:3"


def test_json_lines_are_read_and_a_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "general.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n\n" for text in TEXTS))
    assert len(ready(Replay(texts=str(path)))._sources[0].rows) == 3
    path.write_text('{"text": "w3 w4"}\n{"words": 1}\n')
    with pytest.raises(ValueError, match=r"general.jsonl:2: is no JSON object with a `text`"):
        ready(Replay(texts=str(path)))


def test_a_missing_or_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no such file; give one text a line"):
        ready(Replay(texts=str(tmp_path / "nowhere.txt")))
    (tmp_path / "empty.txt").write_text("\nw3\n")
    with pytest.raises(ValueError, match="holds no text of two tokens"):
        ready(Replay(texts=str(tmp_path / "empty.txt")))


def test_rate_zero_is_the_plain_run_bit_by_bit(tmp_path: Path) -> None:
    assert tiny.alike(tmp_path, [Full()], [Full(), Replay(rate=0)])


def test_the_model_learns_the_texts_too(tmp_path: Path, texts: str) -> None:
    """With half the loss on three texts their own loss is 0.014; without them, 5.3."""
    rows = ready(Replay(texts=texts))._sources[0].rows
    found = []
    for rate in (0.0, 0.5):
        run = tiny.trainer(tmp_path / f"{rate}", Full(), Replay(texts=texts, rate=rate), steps=20, save_every=20)
        run.train()
        with torch.no_grad():
            output = run.model(rows)
        found.append(float(torch.nn.functional.cross_entropy(output.logits, output.labels)))
    assert found[1] < 0.1 < found[0]


def test_a_resumed_run_draws_on_and_without_the_number_of_the_step_it_would_not(tmp_path: Path, texts: str) -> None:
    def run(folder: str, steps: int) -> dict[str, torch.Tensor]:
        made = tiny.trainer(tmp_path / folder, Full(), Replay(texts=texts, rate=0.4), steps=steps)
        made.train()
        return tiny.weights(made)

    whole = run("whole", 6)
    run("half", 3)
    resumed = run("half", 6)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    run("lost", 3)
    with pytest.MonkeyPatch.context() as patch:
        honest = Replay.added_rows
        patch.setattr(Replay, "added_rows", lambda self, rows, context: honest(self, rows, replace(context, step=0)))
        lost = run("lost", 6)
    assert not all(torch.equal(value, lost[name]) for name, value in whole.items())


def write_task(folder: Path, words: list[str], text: str = "{{ input }}") -> str:
    """A task whose answers are the words, behind a question of two more."""
    folder.mkdir()
    lines = "".join(json.dumps({"input": f"w{i % 20 + 3} w4", "target": word}) + "\n" for i, word in enumerate(words))
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_text(lines)
    (folder / "task.yaml").write_text(f"input: '{text}'\n")
    return str(folder)


def test_tasks_are_replayed_by_their_template_with_the_loss_on_the_answer(tmp_path: Path) -> None:
    task = write_task(tmp_path / "one", [f"w{i}" for i in range(20, 30)], "w9 {{ input }} w8")
    rows = [*tiny.rows(4), *ready(Replay(replay_tasks=task, rate=0.5)).added_rows(tiny.rows(4), CONTEXT)]
    added = rows[4:]
    assert len(added) == 4
    # "w9 question w8", the answer, the end token: the answer and the end are predicted.
    assert all(
        row.tokens[0] == 9 and row.tokens[3] == 8 and row.labels == [4, 5] and row.tokens[5] == 2 for row in added
    )
    assert weight(added) == pytest.approx(weight(rows[:4]))
    assert added[0].name.startswith("replay of one/train[")


def test_sources_have_the_loss_that_their_weights_say(tmp_path: Path, texts: str) -> None:
    """The texts 1, a task 2, another 1: a quarter, a half, a quarter of what is replayed, though texts are longer than answers."""
    one, two = write_task(tmp_path / "one", ["w20", "w21"]), write_task(tmp_path / "two", ["w30 w31", "w32 w33"])
    method = ready(Replay(texts=texts, replay_tasks={one: 2, two: 1}, rate=0.5))
    totals: dict[str, float] = dict.fromkeys(("general", "one", "two"), 0.0)
    for step in range(100):
        for row in method.added_rows(tiny.rows(40), replace(CONTEXT, step=step)):
            totals[next(name for name in totals if name in row.name.rpartition("/train")[0] + Path(row.name).name)] += (
                weight([row])
            )
    everything = sum(totals.values())
    # Of 4000 draws a share is off by 0.008 (one standard error); equal shares, or shares by tokens, are off by 0.08 and more.
    assert {name: total / everything for name, total in totals.items()} == pytest.approx(
        {"general": 0.25, "one": 0.5, "two": 0.25}, abs=0.03
    )


def test_a_cap_takes_examples_from_the_whole_of_a_task(tmp_path: Path) -> None:
    task = write_task(tmp_path / "one", [f"w{i}" for i in range(20, 30)])
    method = ready(Replay(replay_tasks=task, replay_cap=2, rate=0.9))
    names = {row.name for row in method.added_rows(tiny.rows(8), CONTEXT)}
    assert names == {"replay of one/train[0]", "replay of one/train[5]"}


def test_however_tasks_are_written_it_is_one_configuration_and_texts_alone_keep_theirs() -> None:
    forms = [Replay(replay_tasks=form) for form in ("a, b", ["a", "b"], {"a": 1, "b": 1.0})]
    assert len({json.dumps(configuration(form)) for form in forms}) == 1
    assert configuration(forms[0])["replay_tasks"] == {"a": 1.0, "b": 1.0}
    assert configuration(Replay(texts="t")).keys() == {"kind", "texts", "rate", "text_length", "seed"}


def test_bad_tasks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the weight of a is 0; give a number above 0"):
        Replay(replay_tasks={"a": 0})
    with pytest.raises(ValueError, match="nowhere"):
        ready(Replay(replay_tasks="nowhere"))
    task = write_task(tmp_path / "one", ["w20"])
    for split in ("train", "validation"):
        (tmp_path / "one" / f"{split}.jsonl").unlink()
    with pytest.raises(ValueError, match="has no train split to replay"):
        ready(Replay(replay_tasks=task))


@pytest.mark.parametrize(("field", "value"), [("replay_tasks", "nowhere"), ("texts", "nowhere.txt")])
def test_what_is_not_there_is_refused_when_the_run_is_planned(field: str, value: str) -> None:
    """The bug: only once the model was loaded."""
    plan = RecipePlan("model", (TaskRef("task"),), {"model": {field: value}})
    with pytest.raises(ValueError, match="nowhere"):
        find_recipe("full+replay")(plan)


def test_a_model_with_an_encoder_replays_tasks(tmp_path: Path) -> None:
    model = encoder_decoder.pretrained("t5")
    context = Context(PrefixModel(model.model), model)
    method = Replay(replay_tasks=write_task(tmp_path / "one", ["a", "o"]), rate=0.5)
    method.prepare(context)
    (row,) = method.added_rows([Row((3, 4, 5), (0.0, 0.0, 1.0))], context)
    assert model.tokenizer.decode([row.tokens[i] for i in row.labels], skip_special_tokens=True).strip() in (
        "a",
        "o",
    )


def test_a_run_with_nothing_to_replay_is_refused_when_it_is_planned(tmp_path: Path) -> None:
    request, tasks = Request("lab", ("lab:kind",), Techniques("full+replay"), ("none",)).read()
    with pytest.raises(
        ValueError, match=r"nothing to replay; name tasks \(--set model\.replay_tasks=TASK,TASK\) or a file"
    ):
        plan_run(request, tasks, tmp_path)
    Replay(rate=0).check_content()
