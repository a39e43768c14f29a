"""Whole runs on tiny T5 and mT5 folders, from the command line: every method, the standard folder, PEFT, clear refusals."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
from typer.testing import CliRunner

import holdfast
from holdfast.api import tune as runs
from holdfast.api.tune import tune
from holdfast.cli.app import app
from holdfast.inference.sampling import Sampling
from holdfast.methods.full import Full
from holdfast.methods.lora import Lora
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.prompts.deep_prefix import of_words
from tests import encoder_decoder
from tests.recipes.worlds import QUICK, write_world
from tests.training import tiny
from tests.training.tiny import losses, trainer


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_world(tmp_path_factory.mktemp("world"), pick=["w3", "w4"], copy=None, other=None)
    for kind in encoder_decoder.KINDS:
        encoder_decoder.write(folder / kind, kind)
    return folder


def arguments(world: Path, method: str, kind: str = "t5") -> dict[str, Any]:
    two = {"prompt_tuning": ("prompt",), "lora_absorber": ("prompt",)}
    stages = ("prompt", "model") if method.startswith("promot") else two.get(method, ("model",))
    fields = {k: v for k, v in QUICK.items() if k.partition(".")[0] in stages and not _lacks(method, k)}
    given = {"model": str(world / kind), "task": str(world / "pick"), "general": [str(world / "copy")]}
    return given | {"method": method, "limit": 4, "shots": (0, 1)} | fields


def _lacks(method: str, field: str) -> bool:
    return "absorber" in method and field == "prompt.length"


def run_cli(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words), catch_exceptions=True)
    return result.exit_code, result.output + (str(result.exception) if result.exception else "")


@pytest.fixture(scope="module")
def promot(world: Path) -> runs.Run:
    return tune(**arguments(world, "promot", "mt5"), out=world / "promot")


@pytest.mark.parametrize(
    ("method", "parts"),
    [
        ("full", {"model"}),
        ("prompt_tuning", {"prompt"}),
        ("promot_one_shot", {"model", "prompt"}),
        ("promot_lora", {"model", "prompt", "adapter"}),
        ("promot_lora_absorber", {"model", "prompt"}),
        ("fticl", {"model"}),
        ("lora", {"model", "adapter"}),
        ("joint", {"model", "prompt"}),
        ("half_fine_tuning", {"model"}),
        ("full+kl_base+l2_sp", {"model"}),
    ],
)
def test_each_method_leaves_the_standard_folder(world: Path, method: str, parts: set[str]) -> None:
    run = tune(**arguments(world, method), out=world / method)
    assert {p for p in ("model", "prompt", "adapter") if (run.folder / p).is_dir()} == parts
    assert run.scores
    for part in parts & {"prompt", "adapter"}:
        assert json.loads((run.folder / part / "adapter_config.json").read_text())["task_type"] == "SEQ_2_SEQ_LM"


def test_the_model_and_the_prompt_load_in_the_libraries_with_equal_numbers(promot: runs.Run) -> None:
    plain = AutoModelForSeq2SeqLM.from_pretrained(promot.folder / "model").eval()
    pieces = AutoTokenizer.from_pretrained(promot.folder / "model")
    ids = pieces("w5 w9 w8", return_tensors="pt")["input_ids"]
    target = pieces("w3", add_special_tokens=False)["input_ids"]
    begun = torch.tensor([[0, *target]])
    off, on = (holdfast.load(promot, prompt=state) for state in ("off", "on"))
    with torch.no_grad():
        without = plain(input_ids=ids, decoder_input_ids=begun).logits
        assert torch.equal(without, off.pretrained.model(input_ids=ids, decoder_input_ids=begun).logits)
        attached = peft.PeftModel.from_pretrained(plain, promot.folder / "prompt").eval()
        logits = attached(input_ids=ids, attention_mask=torch.ones_like(ids), decoder_input_ids=begun).logits
    sentinel = pieces.convert_tokens_to_ids("▁<extra_id_0>")
    with torch.no_grad():
        opened = torch.tensor([[0, sentinel, *target]])
        other = attached(input_ids=ids, attention_mask=torch.ones_like(ids), decoder_input_ids=opened).logits
    expected = torch.logaddexp(_likelihood(logits, target), _likelihood(other, [sentinel, *target]))
    value = on.loglikelihood([("w5 w9 w8", " w3")])[0].value
    # Noise 1e-5; a prompt that is not attached moves it by more than 0.1.
    assert value == pytest.approx(float(expected), abs=1e-4)
    assert abs(float(_likelihood(without, target) - _likelihood(logits, target))) > 0.1
    with torch.no_grad():
        theirs = attached.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False, num_beams=1
        )
    new = [token for token in theirs[0].tolist()[1:] if token not in (0, 1)]
    assert on.generate(["w5 w9 w8"], Sampling(max_new_tokens=6)) == [_words(pieces, new)]


def _likelihood(logits: torch.Tensor, target: list[int]) -> torch.Tensor:
    return logits[0, : len(target)].log_softmax(-1)[range(len(target)), target].sum()


def _words(pieces: Any, tokens: list[int]) -> str:
    """The answer by hand: between the sentinels, where there are any."""
    pair = [pieces.convert_tokens_to_ids(f"▁<extra_id_{i}>") for i in (0, 1)]
    tokens = tokens[tokens.index(pair[0]) + 1 :] if pair[0] in tokens else tokens
    tokens = tokens[: tokens.index(pair[1])] if pair[1] in tokens else tokens
    return pieces.decode([token for token in tokens if token != pair[0]], skip_special_tokens=True)


def test_the_commands_take_such_a_folder(promot: runs.Run, world: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("w5 w9 w8\nw3 w9 w8\n")
    for prompt in ("on", "off"):
        code, said = run_cli("generate", str(promot.folder), "--prompt", prompt, "--input", str(tmp_path / "in.txt"))
        assert (code, said.count('"output"')) == (0, 2), said
    code, said = run_cli(
        "evaluate", str(promot.folder), "--prompt", "on", "--task", str(world / "pick"), "--shots", "0,1"
    )
    assert code == 0, said
    code, said = run_cli(
        "edit",
        str(world / "mt5"),
        str(promot.folder),
        "--edit",
        "wise_ft",
        "--set",
        "alpha=0.5",
        "--out",
        str(tmp_path / "e"),
    )
    assert code == 0, said
    base, tuned, edited = (
        AutoModelForSeq2SeqLM.from_pretrained(place).state_dict()
        for place in (world / "mt5", promot.folder / "model", tmp_path / "e")
    )
    middle = {name: torch.lerp(base[name], tuned[name], 0.5) for name in base}
    assert all(torch.allclose(edited[name], middle[name], atol=1e-6) for name in base)
    assert any(not torch.equal(edited[name], base[name]) for name in base)
    code, said = run_cli("report", str(promot.folder))
    assert code == 0, said
    card = (promot.folder / "README.md").read_text()
    assert "AutoModelForSeq2SeqLM" in card
    assert "AutoModelForCausalLM" not in card
    code, said = run_cli("doctor", str(world / "t5"), "--json")
    assert json.loads(said)["kind"] == "encoder-decoder"
    assert "each input encoded once" in json.loads(said)["prefix core"]


def test_a_sequence_of_targets_and_an_unmerged_adapter_from_the_command_line(world: Path, tmp_path: Path) -> None:
    """On the command line from the first word to the last; what `generate` and `compare` read is what `tune` left."""
    shared = ["--limit", "4", "--shots", "0", "--general", str(world / "other")]
    quick = [part for key, value in QUICK.items() for part in ("--set", f"{key}={value}")]
    targets = [str(world / "pick"), str(world / "copy")]
    sequence, lora = str(tmp_path / "sequence"), str(tmp_path / "lora")
    given = ["--method", "promot_sequential", "--out", sequence, *shared, *quick]
    code, said = run_cli("tune", str(world / "t5"), *targets, *given)
    assert (code, "BWT            " in said) == (0, True), said
    given = ["--method", "lora", "--set", "model.merge=false", "--set", "model.steps=4", "--out", lora, *shared]
    code, said = run_cli("tune", str(world / "t5"), targets[0], *given)
    assert code == 0, said
    (tmp_path / "in.txt").write_text("w5 w9 w8\n")
    for folder, prompt in ((sequence, ["--prompt", "copy"]), (sequence, ["--prompt", "off"]), (lora, [])):
        code, said = run_cli("generate", folder, *prompt, "--input", str(tmp_path / "in.txt"), "--num-beams", "2")
        assert (code, said.count('"output"')) == (0, 1), said
    base, tuned = (holdfast.load(place).loglikelihood([("w5 w9 w8", " w3")])[0].value for place in (world / "t5", lora))
    assert abs(base - tuned) > 1e-3  # an adapter that is not read leaves it as it is
    code, said = run_cli("compare", sequence, lora, "--out", str(tmp_path / "both"))
    assert (code, (tmp_path / "both" / "comparison.html").exists()) == (0, True), said


@pytest.mark.parametrize(
    ("method", "change", "message"),
    [
        ("promot_deep", {}, "a deep prefix is for models without an encoder; use a soft prompt"),
        ("fticl", {"model.loss_on": "all"}, "read by this model's encoder.*use loss_on=last"),
        ("full+replay", {"model.texts": "README.md"}, "replay: a model with an encoder.*use kl_base or l2_sp"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    world: Path, tmp_path: Path, method: str, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        tune(**(arguments(world, method) | change), out=tmp_path / "out")
    assert not (tmp_path / "out" / "scores.jsonl").exists()


def test_a_deep_prefix_of_another_model_is_refused(world: Path, tmp_path: Path) -> None:
    of_words(tiny.pretrained().model, [3, 4]).save(tmp_path, base="tiny")
    with pytest.raises(ValueError, match=r"a deep prefix.*encoder"):
        holdfast.load(str(world / "t5"), prompt=str(tmp_path))


@pytest.mark.parametrize("method", ["full", "lora", "prompt_tuning"])
def test_it_learns_eight_rows(method: str, tmp_path: Path) -> None:
    """To a loss near nothing, and the answers dealt to other inputs stay unlikely. A prompt before a random model can say but
    one thing: eight inputs, one answer."""
    kinds = {"full": (Full(), 1e-2), "lora": (Lora(rank=16), 1e-2), "prompt_tuning": (PromptTuning(length=10), 0.1)}
    made, rate = kinds[method]
    data = encoder_decoder.rows(*((5, 2) for _ in range(8)), prompt=None)
    if method == "prompt_tuning":
        data = [replace(row, tokens=row.tokens[:5] + data[0].tokens[5:]) for row in data]
    loaded = encoder_decoder.pretrained("mt5", initializer_factor=1.0)
    with torch.no_grad():
        loaded.model.lm_head.weight *= 4  # Else a frozen head bounds the logits, and with them the loss.
    steps = 180 if method == "prompt_tuning" else 80
    settings = {"steps": steps, "batch_size": 8, "learning_rate": rate, "save_every": steps, "dropout": 0.0}
    run = trainer(tmp_path, made, data=data, model=loaded, **settings)
    run.train()
    found = losses(tmp_path)
    assert found[0] > 2
    assert found[-1] < 0.05
    last = len(run.model.prompts) - 1 if len(run.model.prompts) else None
    others = [row.tokens[5:] for row in (data[1:] + data[:1])] if method != "prompt_tuning" else [(7, 8)] * 8
    dealt = [replace(row, tokens=row.tokens[:5] + other, prompt=last) for row, other in zip(data, others, strict=True)]
    with torch.no_grad():
        output = run.model(dealt)
    assert float(torch.nn.functional.cross_entropy(output.logits, output.labels)) > 2
