"""A whole run on a tiny random model: the standard folder, loadable by the libraries it is made for, resumable, repeatable."""

import json
from pathlib import Path
from threading import Thread
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import holdfast
from holdfast.api import tune as runs
from holdfast.api.tune import tune
from holdfast.models import loading
from holdfast.stages.stage import exclusive
from tests.recipes.worlds import QUICK, write_world
from tests.training import tiny


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"), pick=["w3", "w4"], copy=None)


def arguments(world: Path, method: str) -> dict[str, Any]:
    both = dict.fromkeys(
        ("promot", "promot_lora", "promot_deep", "promot_lora_absorber", "promot_joined"), ("prompt", "model")
    )
    stages = {**both, "prompt_tuning": ("prompt",)}.get(method, ("model",))
    fields = {k: v for k, v in QUICK.items() if k.partition(".")[0] in stages}
    if method == "promot_lora_absorber":
        del fields["prompt.length"]
    return {
        "model": str(world / "model"),
        "task": str(world / "pick"),
        "method": method,
        "general": [str(world / "copy")],
        **fields,
    }


@pytest.fixture(scope="module")
def promot(world: Path) -> runs.Run:
    return tune(**arguments(world, "promot"), out=world / "promot")


@pytest.mark.parametrize(
    ("method", "parts"),
    [
        ("promot", {"model", "prompt"}),
        ("promot_lora", {"model", "prompt", "adapter"}),
        ("full", {"model"}),
        ("lora", {"model", "adapter"}),
        ("prompt_tuning", {"prompt"}),
        ("fticl", {"model"}),
        ("joint", {"model", "prompt"}),
        ("fixed_prompt", {"model", "prompt"}),
        ("promot_deep", {"model", "prompt"}),
        ("promot_lora_absorber", {"model", "prompt"}),
        ("promot_joined", {"model", "prompt"}),
    ],
)
def test_each_method_leaves_the_standard_folder(world: Path, method: str, parts: set[str]) -> None:
    run = tune(**arguments(world, method), out=world / method)
    assert {p for p in ("model", "prompt", "adapter") if (run.folder / p).is_dir()} == parts
    files = ("scores.jsonl", "outputs.jsonl", "report.html", "README.md", "config.yaml", "log.jsonl")
    assert [name for name in files if not (run.folder / name).exists()] == []
    states = {(s.variant, s.prompt) for s in run.scores}
    assert states == {("base", None)} | (
        {("tuned", "on"), ("tuned", "off")} if "prompt" in parts else {("tuned", None)}
    )
    assert all(
        s.delta is not None for s in run.scores if s.variant == "tuned" and s.metric in ("accuracy", "exact_match")
    )


def test_the_model_folder_without_the_prompt_equals_the_scores_with_the_prompt_removed(
    promot: runs.Run, world: Path
) -> None:
    off = holdfast.load(promot, prompt="off")
    plain = AutoModelForCausalLM.from_pretrained(promot.folder / "model")
    tokens = torch.tensor([[1, 5, 9, 8]])
    with torch.no_grad():
        assert torch.equal(plain(tokens).logits, off.pretrained.model(tokens).logits)
    again = holdfast.evaluate(str(promot.folder / "model"), [str(world / "pick")], shots=(0,))
    before = next(s for s in promot.scores if (s.variant, s.prompt, s.task, s.shots) == ("tuned", "off", "pick", 0))
    assert next(s for s in again if s.metric == before.metric).value == before.value


@pytest.mark.parametrize("method", ["promot", "promot_deep", "promot_lora_absorber"])
def test_peft_attaches_the_prompt_to_the_tuned_model_with_the_same_logits(world: Path, method: str) -> None:
    promot = tune(**arguments(world, method), out=world / method)
    base = AutoModelForCausalLM.from_pretrained(promot.folder / "model")
    attached = peft.PeftModel.from_pretrained(base, promot.folder / "prompt").eval()
    on = holdfast.load(promot, prompt="on")
    tokenizer = AutoTokenizer.from_pretrained(promot.folder / "model")
    ids = tokenizer("w5 w9 w8 w3", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = attached(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    value = on.loglikelihood([("w5 w9 w8", " w3")])[0].value
    expected = float(logits[0, -2].log_softmax(-1)[ids[0, -1]])
    assert value == pytest.approx(
        expected, abs=1e-4
    )  # noise 1e-6; a prompt that is not attached moves it by more than 0.1


def test_a_joined_prompt_is_each_of_its_parts_and_comes_off_whole(world: Path) -> None:
    """Saved, loaded and attached it says what it said in training; each part is an adapter that PEFT reads."""
    run = tune(**arguments(world, "promot_joined"), out=world / "joined")
    parts = [peft.PeftConfig.from_pretrained(str(run.folder / "prompt" / part)).peft_type for part in "12"]
    assert parts == [peft.PeftType.PROMPT_TUNING, peft.PeftType.LORA]
    asked = [("w5 w9 w8", " w3")]
    values = {state: holdfast.load(run, prompt=state).loglikelihood(asked)[0].value for state in ("on", "off")}
    plain = holdfast.load(run.folder / "model").loglikelihood(asked)[0].value
    assert values["off"] == pytest.approx(plain, abs=1e-5)
    assert abs(values["on"] - values["off"]) > 0.01
    card = (run.folder / "README.md").read_text()
    assert 'PeftModel.from_pretrained(model, "joined/prompt")' not in card
    assert 'prompt="on"' in card


def test_the_same_command_again_does_nothing_and_another_is_refused(promot: runs.Run, world: Path) -> None:
    stamp = (promot.folder / "model" / "model.safetensors").stat().st_ino
    stages = sorted(p.name for p in (promot.folder / "stages").iterdir())
    tune(**arguments(world, "promot"), out=promot.folder)
    assert sorted(p.name for p in (promot.folder / "stages").iterdir()) == stages
    assert (promot.folder / "model" / "model.safetensors").stat().st_ino == stamp
    changed = "seed, prompt.seed, model.seed"
    with pytest.raises(ValueError, match=rf"run with another configuration \(different: {changed}\).*--overwrite"):
        tune(**arguments(world, "promot"), out=promot.folder, seed=5)


def test_a_config_repeats_its_run_to_the_same_numbers(promot: runs.Run) -> None:
    again = runs.repeat(promot.folder / "config.yaml")
    assert [(s.key, s.value, s.delta_low) for s in again.scores] == [
        (s.key, s.value, s.delta_low) for s in promot.scores
    ]


def test_the_log_is_that_of_every_stage(promot: runs.Run) -> None:
    logged = [json.loads(line) for line in (promot.folder / "log.jsonl").read_text().splitlines()]
    steps = [(line["stage"], line["step"]) for line in logged if "loss" in line]
    assert steps == [(stage, step) for stage in ("prompt", "model") for step in range(1, 5)]


def test_the_prompt_takes_part(promot: runs.Run) -> None:
    """Stage 2 behind a prompt that the model does not see would give equal scores on and off: outputs must differ somewhere."""
    found = [json.loads(line) for line in (promot.folder / "outputs.jsonl").read_text().splitlines()]
    logprobs = {
        state: [o["logprobs"] for o in found if o["prompt"] == state and o["task"] == "pick"] for state in ("on", "off")
    }
    assert logprobs["on"] != logprobs["off"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "promott"}, "unknown method 'promott'; did you mean 'promot'"),
        ({"prompt.lenght": 3}, "'prompt.lenght'; did you mean 'prompt.length'"),
        ({"prompt.length": 500}, "a prompt of length 500 leaves no room for text in the 128 positions"),
        ({"general": ["no/such/task"]}, "no/such/task: no such folder, file or task"),
    ],
)
def test_wrong_input_is_one_clear_line_and_leaves_no_score(
    world: Path, tmp_path: Path, change: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        tune(**(arguments(world, "promot") | change), out=tmp_path / "out")
    assert not (tmp_path / "out" / "scores.jsonl").exists()


def test_demonstrations_that_a_task_does_not_have_are_noticed_before_training(world: Path, tmp_path: Path) -> None:
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "test.jsonl").write_text((world / "copy" / "test.jsonl").read_text())
    given: dict[str, Any] = arguments(world, "full") | {"general": [str(tmp_path / "only")]}
    with pytest.raises(ValueError, match="only: 1 demonstrations are asked for, and its train split has 0"):
        tune(**given, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_else_is_left_alone(world: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear reader")
    with pytest.raises(ValueError, match="is not empty and holds no run"):
        tune(**arguments(world, "full"), out=tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["letter.txt"]


@pytest.mark.parametrize(
    "text",
    [
        "site_name: mine\n",
        "- a list\n",
        "",
        "stages: [build, test]\n",
        "command: tune\nstages: {}\n",
        "a: [\n",
        "\0\1",
    ],
)
def test_a_config_of_something_else_is_left_alone_even_with_overwrite(world: Path, tmp_path: Path, text: str) -> None:
    """The bug: any config.yaml with the key `stages`, which those of build servers have, made a folder one to be emptied."""
    (tmp_path / "config.yaml").write_text(text)
    (tmp_path / "scores.jsonl").write_text("")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "precious").write_text("mine")
    with pytest.raises(ValueError, match=r"config.yaml: is not the configuration of a run; give another --out"):
        tune(**arguments(world, "full"), out=tmp_path, overwrite=True)
    assert (tmp_path / "config.yaml").read_text() == text
    assert (tmp_path / "model" / "precious").read_text() == "mine"
    (tmp_path / "config.yaml").unlink()
    with pytest.raises(ValueError, match="is not empty and holds no run; give another --out"):
        tune(**arguments(world, "full"), out=tmp_path, overwrite=True)
    assert (tmp_path / "model" / "precious").read_text() == "mine"


def test_overwrite_removes_the_run_and_not_what_lies_beside_it(world: Path, tmp_path: Path) -> None:
    tune(**arguments(world, "prompt_tuning"), out=tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "figures").mkdir()
    before = {path.name for path in (tmp_path / "stages").iterdir()}
    tune(**arguments(world, "full"), out=tmp_path, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "figures").is_dir()
    assert not (tmp_path / "prompt").exists(), "it belongs to the run that was replaced"
    assert {path.name for path in (tmp_path / "stages").iterdir()}.isdisjoint(before - _bases(before))


def _bases(names: set[str]) -> set[str]:
    """The stages of the untrained model, which both runs make alike."""
    return {name for name in names if name.startswith(("evaluate-base-", "label-mass-base-"))}


def test_a_try_that_failed_early_does_not_stand_in_the_way_of_the_corrected_command(
    world: Path, tmp_path: Path
) -> None:
    """A prompt that does not fit is found once the model is there, when the folder is already taken."""
    given, out = arguments(world, "prompt_tuning"), tmp_path / "out"
    wrong: dict[str, Any] = given | {"prompt.length": 100_000}
    with pytest.raises(ValueError, match="leaves no room for text"):
        tune(**wrong, out=out)
    (out / "stages" / "prompt-0" / "checkpoint-1").mkdir(parents=True)
    with pytest.raises(ValueError, match="holds a run with another configuration"):
        tune(**given, out=out)
    (out / "stages" / "prompt-0" / "checkpoint-1").rmdir()
    assert tune(**given, out=out).config["stages"]["prompt"]["length"] == given["prompt.length"]


def test_a_second_command_on_a_folder_waits_for_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the lock both write the run's files, and one finds its own gone."""
    ended: list[str] = []

    def second() -> None:
        with exclusive(tmp_path, "another command works here"):
            ended.append("second")

    thread = Thread(target=second)
    with exclusive(tmp_path):
        thread.start()
        thread.join(0.2)
        ended.append("first")
    thread.join(10)
    assert ended == ["first", "second"]
    assert capsys.readouterr().err == f"{tmp_path}: another command works here\n"


def test_two_tasks_of_one_name_are_refused(world: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = arguments(world, "full") | {"general": [str(world / "pick")]}
    with pytest.raises(ValueError, match="pick: two of the tasks have this name"):
        tune(**given, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_task_that_the_tokenizer_cannot_read_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """To the lab's model most English words are one and the same token; its own tasks are not to be warned of."""
    lines = [json.dumps({"input": f"the film {i} was lovely", "target": "upwards"}) for i in range(4)]
    (tmp_path / "test.jsonl").write_text("\n".join(lines))
    holdfast.evaluate("lab", ["lab:kind", str(tmp_path)], shots=(0,), limit=2)
    warned = capsys.readouterr().err
    assert "lab has no token for" in warned
    assert "'film'" in warned
    assert "kind:" not in warned


def test_paths_and_single_names_will_do_in_python(world: Path, tmp_path: Path) -> None:
    given = {"shots": (0,), "limit": 2, "model.steps": 1, "out": tmp_path / "run"}
    run = tune(world / "model", world / "pick", "full", world / "copy", **given)
    assert run.config["model"] == str(world / "model")
    assert {score.role for score in run.scores} == {"target", "general"}
    scores = holdfast.evaluate(run, world / "pick", limit=2, out=tmp_path / "again")
    assert {score.model for score in scores} == {str(run.folder)}


def test_pickled_weights_are_refused(world: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    loading.save(tiny.pretrained(), folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model.bin\) are pickled, and unpickling runs code"):
        holdfast.load(folder)


def test_a_tokenizer_that_cannot_end_a_text_is_refused(tmp_path: Path) -> None:
    loaded = tiny.pretrained()
    loaded.tokenizer.eos_token = None
    loading.save(loaded, tmp_path / "model")
    with pytest.raises(ValueError, match=r"no end-of-sequence token.*set `eos_token`"):
        holdfast.load(tmp_path / "model")
