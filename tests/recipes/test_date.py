"""A chat template that writes today's date: a run keeps the date on which it began, whatever the clock says."""

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
import transformers.utils.chat_template_utils as templates
import yaml

import holdfast
from holdfast.api import tune as runs
from holdfast.models import chat_date, loading
from holdfast.stages.evaluate import Evaluate
from tests.recipes.worlds import WORDS
from tests.training import tiny

CHAT = (
    "w3 {{ strftime_now('%Y-%m-%d') }} {% for m in messages %}{{ m['role'] }} : {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}assistant : {% endif %}"
)
DAY = datetime.datetime(2026, 3, 1, 23, 59)


class Clock:
    """A day that passes when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = DAY
        clock = self

        class Now(datetime.datetime):
            @classmethod
            def now(cls, *_: Any) -> datetime.datetime:  # pyright: ignore[reportIncompatibleMethodOverride]
                return clock.now

        monkeypatch.setattr(templates, "datetime", Now)
        monkeypatch.setattr(chat_date, "today", lambda: self.now.date().isoformat())

    def midnight(self) -> None:
        self.now += datetime.timedelta(days=1)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    made = tiny.pretrained()
    made.tokenizer.chat_template = CHAT
    loading.save(made, tmp_path / "model")
    for split, count in (("train", 12), ("validation", 4), ("test", 4)):
        lines = []
        for i in range(count):
            word = WORDS[(5 * i + len(split)) % len(WORDS)]
            turns = [{"role": "user", "content": word}, {"role": "assistant", "content": "w4"}]
            lines.append(json.dumps({"messages": turns}))
        (tmp_path / "talk").mkdir(exist_ok=True)
        (tmp_path / "talk" / f"{split}.jsonl").write_text("\n".join(lines))
    return tmp_path


def tune(world: Path, name: str = "run", **options: Any) -> runs.Run:
    fields: dict[str, Any] = {"model.steps": 2, "prompt.steps": 2, "prompt.length": 2, **options}
    return holdfast.tune(world / "model", world / "talk", "promot", shots=(0,), out=world / name, **fields)


def dates(folder: Path) -> set[str]:
    """The dates in all that a run has asked."""
    return {json.loads(line)["input"].split()[1] for line in (folder / "outputs.jsonl").read_text().splitlines()}


def test_a_run_that_crosses_midnight_ends_in_the_words_it_began_with(
    world: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bug: base and tuned were asked with different dates, which was refused after all the training, at every further try."""
    measuring = runs.measure

    def late(*arguments: Any, **options: Any) -> Any:
        clock.midnight()
        return measuring(*arguments, **options)

    answered = Evaluate.outputs

    def after_each(*arguments: Any) -> Any:
        outputs = answered(*arguments)
        clock.midnight()
        return outputs

    monkeypatch.setattr(runs, "measure", late)
    monkeypatch.setattr(Evaluate, "outputs", after_each)
    run = tune(world)
    assert dates(run.folder) == {"2026-03-01"}
    assert run.config["date"] == "2026-03-01"


def test_a_run_resumed_tomorrow_goes_on_and_a_repeat_uses_its_date_and_a_new_run_its_own(
    world: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runs, "measure", stopped)
        with pytest.raises(KeyboardInterrupt):
            tune(world)
    stages = {path.name for path in (world / "run" / "stages").iterdir()}
    clock.midnight()
    run = tune(world)
    assert {path.name for path in (world / "run" / "stages").iterdir() if path.name in stages} == stages
    assert dates(run.folder) == {"2026-03-01"}
    clock.midnight()
    again = runs.repeat(run.folder / "config.yaml")
    assert dates(again.folder) == {"2026-03-01"}
    assert [s.value for s in again.scores] == [s.value for s in run.scores]
    assert dates(tune(world, "new").folder) == {"2026-03-03"}
    asked = holdfast.load(run).pretrained.tokenizer.apply_chat_template(
        [{"role": "user", "content": "w5"}], tokenize=False
    )
    assert asked.split()[1] == "2026-03-01", "the tuned model is asked in the words it was trained in"


def test_a_study_keeps_the_date_on_which_it_began(world: Path, clock: Clock) -> None:
    """Its runs share the base's answers, so all of them are asked with one date, on whatever day they run."""
    arguments: dict[str, Any] = {"targets": [str(world / "talk")], "out": world / "study", "shots": (0,)}
    arguments["set"] = {"model.steps": 1}
    for seeds in (1, 2):
        found = holdfast.study(str(world / "model"), ["full"], seeds=seeds, **arguments)
        assert found.failed == []
        clock.midnight()
    folders = sorted((world / "study" / "runs").iterdir())
    assert len(folders) == 2
    assert [dates(folder) for folder in folders] == [{"2026-03-01"}] * 2
    assert yaml.safe_load((world / "study" / "study.yaml").read_text())["date"] == "2026-03-01"


def test_a_template_without_a_date_leaves_no_date_in_the_run(world: Path, clock: Clock) -> None:
    (world / "model" / "chat_template.jinja").write_text(CHAT.replace("{{ strftime_now('%Y-%m-%d') }}", "w5"))
    run = tune(world)
    stages = {path.name for path in (run.folder / "stages").iterdir()}
    assert "date" not in run.config
    clock.midnight()
    tune(world)
    assert {path.name for path in (run.folder / "stages").iterdir()} == stages


@pytest.mark.parametrize("form", ["%d %b %Y", "%A, %-d %B %y", "100%% %j", "%Y-%m-%dT%H:%M:%S", "plain"])
def test_the_date_is_written_as_strftime_writes_it(form: str) -> None:
    tokenizer = tiny.pretrained().tokenizer
    tokenizer.chat_template = f"{{{{ strftime_now('{form}') }}}}|{{{{ messages[0].content }}}}"
    chat_date.fix_date(tokenizer, "2026-03-01")
    text = tokenizer.apply_chat_template([{"role": "user", "content": "hello"}], tokenize=False)
    assert text == datetime.datetime(2026, 3, 1).strftime(form) + "|hello"
    assert tokenizer.chat_template.startswith("{{ strftime_now"), "nothing of the date is saved"


def test_a_date_that_is_none_is_refused(world: Path) -> None:
    with pytest.raises(ValueError, match="date='yesterday': is no date; write it as YYYY-MM-DD"):
        tune(world, date="yesterday")
    assert not (world / "run" / "scores.jsonl").exists()
