"""`--engine vllm`, by a double of its interface: the answers that transformers gives, and one line for what vLLM does not have."""

import sys
from pathlib import Path

import pytest
import torch

from holdfast.api.evaluate import evaluate
from holdfast.api.load import asking, load
from holdfast.api.tune import Run, tune
from holdfast.api.vllm_model import VllmModel
from holdfast.inference.sampling import Sampling
from tests.cli.commands import Commands
from tests.inference import vllm_double
from tests.recipes.worlds import QUICK, write_world

ASKED = ["w3 w4 w5", "w9 w8 w7 w3", "w3", "w3 w4 w5"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"), pick=["w3", "w4"], copy=None)


@pytest.fixture(scope="module")
def prompted(world: Path) -> Run:
    return tune(world / "model", world / "pick", "promot", "none", shots=(0,), out=world / "run", **QUICK)


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> list[vllm_double.LLM]:
    monkeypatch.setitem(sys.modules, "vllm", vllm_double.module())
    vllm_double.made.clear()
    return vllm_double.made


@pytest.fixture
def holdfast(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(monkeypatch, capsys)


def test_scores_are_those_of_transformers(world: Path, vllm: list[vllm_double.LLM], tmp_path: Path) -> None:
    """Choices, by log-probabilities of the prompt, and written answers, at 0 and 1 demonstrations."""
    tasks: list[str | Path] = [world / "pick", world / "copy"]
    theirs = evaluate(world / "model", tasks, engine="vllm", out=tmp_path / "out")
    ours = evaluate(world / "model", tasks, dtype="fp32")
    assert [(s.key, s.value, s.low, s.high, s.n, s.model_hash) for s in theirs] == [
        (s.key, s.value, s.low, s.high, s.n, s.model_hash) for s in ours
    ]
    assert {(s.device, s.dtype) for s in theirs} == {("vllm", "fp32")}
    (llm,) = vllm
    assert (llm.model, llm.dtype) == (str(world / "model"), "float32")
    ranked = [settings for _, settings in llm.asked if settings.prompt_logprobs is not None]
    written = [settings for _, settings in llm.asked if settings.prompt_logprobs is None]
    assert ranked
    assert all(settings.skip_reading_prefix_cache for settings in ranked), "as docs/models.md says"
    assert written
    assert not any(settings.skip_reading_prefix_cache for settings in written)


def test_likelihoods_and_texts_are_the_models_own(world: Path, vllm: list[vllm_double.LLM]) -> None:
    here = load(world / "model")
    pairs = [("w3 w4", " w5"), ("w3 w4", " w6 w7"), ("", "w3 w4"), ("w3 w4", " w5")]
    with asking(world / "model", engine="vllm") as there:
        values = [(v.value, v.greedy, v.tokens) for v in there.loglikelihood(pairs)]
        assert values == [(pytest.approx(v.value, abs=1e-4), v.greedy, v.tokens) for v in here.loglikelihood(pairs)]
        assert len(vllm[0].asked) == 3, "equal questions are asked once"
        for sampling in (Sampling(12), Sampling(12, stop=("w4",)), Sampling(1)):
            assert there.generate(ASKED, sampling) == here.generate(ASKED, sampling)
        assert there.rolling(["w3 w4 w5 w6", ""]) == pytest.approx(here.rolling(["w3 w4 w5 w6", ""]), abs=1e-4)
        mass = (["w3 w4"], [["w5", "w6"]])
        assert there.first_token_mass(*mass) == pytest.approx(here.first_token_mass(*mass), abs=1e-5)
    # The weights are vLLM's alone.
    assert isinstance(there, VllmModel)
    assert next(there.pretrained.model.parameters()).device.type == "meta"


def test_drawn_texts_stand_side_by_side_and_are_those_of_their_seed(world: Path, vllm: list[vllm_double.LLM]) -> None:
    with asking(world / "model", engine="vllm") as there:
        drawn = there.generate(ASKED, Sampling(8, temperature=1.0, seed=3, samples=3))
        assert len(drawn) == 12
        assert drawn[:3] == drawn[9:], "equal texts have equal samples"
        assert len(set(drawn[:9])) > 3, "other texts and other samples are drawn apart"
        assert there.generate(ASKED[1:2], Sampling(8, temperature=1.0, seed=3, samples=3)) == drawn[3:6]
        assert there.generate(ASKED[1:2], Sampling(8, temperature=1.0, seed=4)) == drawn[4:5]


def test_a_soft_prompt_goes_as_vectors(prompted: Run, vllm: list[vllm_double.LLM]) -> None:
    here = load(prompted, "on")
    with asking(prompted, engine="vllm") as there:
        assert there.origin.attached
        assert there.generate(ASKED, Sampling(8)) == here.generate(ASKED, Sampling(8))
        question, _ = vllm[0].asked[0]
        assert vllm[0].model == str(prompted.folder / "model")
        assert isinstance(here.prompt, torch.Tensor)
        assert torch.equal(question["prompt_embeds"][: len(here.prompt)], here.prompt)
        with pytest.raises(ValueError, match="no log-probabilities behind a soft prompt"):
            there.loglikelihood([("w3", "w4")])


def test_what_vllm_does_not_have_is_one_line(
    world: Path, prompted: Run, vllm: list[vllm_double.LLM], holdfast: Commands, tmp_path: Path
) -> None:
    model, task = str(world / "model"), str(world / "copy")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("w3 w4\n")
    for arguments, expected in (
        (["evaluate", model, "--task", task, "--decode", "refine"], "gives no logits, which --decode works on"),
        (["evaluate", model, "--task", task, "--dtype", "int8"], "dtype=int8: not with --engine vllm"),
        (["evaluate", "openai:http://127.0.0.1:9/v1#x", "--task", task], "engine: is the server's business"),
        (["evaluate", str(prompted.folder), "--task", str(world / "pick")], "behind a soft prompt"),
        (["generate", model, "--input", prompts, "--num-beams", 2], "beams"),
        (["evaluate", model, "--task", task, "--device", "cpu"], "leave --device out"),
        (["evaluate", "lab", "--against", "lab"], "--engine: not with --against"),
    ):
        assert expected in holdfast(*arguments, "--engine", "vllm").error


def test_a_model_that_vllm_refuses_is_one_line(
    world: Path, vllm: list[vllm_double.LLM], holdfast: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(**_: object) -> None:
        raise RuntimeError("No supported device detected.\nmore")

    monkeypatch.setattr(sys.modules["vllm"], "LLM", refuses)
    seen = holdfast("evaluate", world / "model", "--task", world / "copy", "--engine", "vllm")
    assert "vLLM cannot open it (No supported device detected.); leave --engine vllm out" in seen.error
    assert vllm == []


def test_without_vllm_a_line_says_what_to_install(holdfast: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)  # As if it were not there, on any machine.
    seen = holdfast("evaluate", "lab", "--task", "lab:kind", "--engine", "vllm")
    assert seen.error == (
        "holdfast: --engine vllm: vLLM is not installed; pip install 'holdfast[vllm]' (Linux with a GPU)"
    )
