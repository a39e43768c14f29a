"""The architecture of a model decides; everybody else asks it for what it can do."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from holdfast.models.architecture import Architecture, DecoderOnly, EncoderDecoder, architecture_of, of_run
from holdfast.row import Row
from tests import encoder_decoder
from tests.prefix import tiny

HOUSE = Path(__file__).parents[2] / "holdfast"


@pytest.fixture(scope="module")
def models() -> dict[type[Architecture], Any]:
    return {DecoderOnly: tiny.tiny("Llama"), EncoderDecoder: encoder_decoder.pretrained("t5").model}


def test_a_model_is_of_the_architecture_that_its_configuration_says(models: dict[type[Architecture], Any]) -> None:
    for architecture, model in models.items():
        assert type(architecture_of(model)) is architecture
        assert type(model).__name__ in str(getattr(transformers, architecture.auto_class)._model_mapping.values())


def test_a_row_takes_the_positions_of_what_stands_in_one_sequence(models: dict[type[Architecture], Any]) -> None:
    row = Row(tuple(range(7)), (0.0,) * 5 + (1.0,) * 2)
    taken = {name: architecture_of(model).row_positions(row) for name, model in models.items()}
    assert taken == {DecoderOnly: 7, EncoderDecoder: 5}
    assert [architecture_of(model).encoded(row) for model in models.values()] == [0, 5]


@pytest.mark.parametrize("architecture", [DecoderOnly, EncoderDecoder])
def test_forward_gets_what_the_architecture_says_it_needs(
    models: dict[type[Architecture], Any], architecture: type[Architecture]
) -> None:
    model, tokens = models[architecture], torch.tensor([[3, 4, 5, 6]])
    inputs = architecture_of(model).decoder_inputs(tokens[:, :2])
    with torch.no_grad():
        logits = model(tokens, **inputs, use_cache=False).logits
    assert logits.shape[:2] == (1, 2 if architecture is EncoderDecoder else 4)


def test_folder_of_a_run_says_which_class_loads_its_model(tmp_path: Path) -> None:
    assert of_run(tmp_path).auto_class == "AutoModelForCausalLM"  # Scores alone: nothing says otherwise.
    for files, auto_class in (
        ({"model/config.json": {"is_encoder_decoder": True}}, "AutoModelForSeq2SeqLM"),
        ({"model/config.json": {"model_type": "llama"}}, "AutoModelForCausalLM"),
        ({"prompt/adapter_config.json": {"task_type": "SEQ_2_SEQ_LM"}}, "AutoModelForSeq2SeqLM"),
        ({"prompt/rte/adapter_config.json": {"task_type": "SEQ_2_SEQ_LM"}}, "AutoModelForSeq2SeqLM"),
        (
            {
                "prompt/adapter_config.json": {"peft_type": "JOINED"},
                "prompt/1/adapter_config.json": {"task_type": "SEQ_2_SEQ_LM"},
            },
            "AutoModelForSeq2SeqLM",
        ),
        ({"adapter/adapter_config.json": {"task_type": "CAUSAL_LM"}}, "AutoModelForCausalLM"),
    ):
        run = tmp_path / str(len(list(tmp_path.iterdir())))
        for name, config in files.items():
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            (run / name).write_text(json.dumps(config))
        assert of_run(run).auto_class == auto_class, files


NAMES = {"is_encoder_decoder", "encoder_decoder", "auto_class", "task_type", "description"}


def kinds_asked(text: str) -> list[int]:
    """The lines of a file that read a model's kind from its configuration, or decide by an architecture's class or name."""
    classes = {architecture.__name__ for architecture in Architecture.__subclasses__()}
    lines = []
    for node in ast.walk(ast.parse(text)):
        word = getattr(node, "attr", getattr(node, "value", getattr(node, "id", None)))
        if isinstance(word, str) and word in {*classes, "is_encoder_decoder", "DECODER_ONLY", "ENCODER_DECODER"}:
            lines.append(getattr(node, "lineno", 0))
        elif isinstance(node, ast.Compare | ast.If | ast.IfExp):
            tested = node if isinstance(node, ast.Compare) else node.test
            parts = [part for part in ast.walk(tested) if isinstance(part, ast.Attribute)]
            lines += [node.lineno for part in parts if part.attr in NAMES]
    return lines


def test_nobody_outside_models_asks_for_the_kind_of_a_model() -> None:
    for path in sorted(HOUSE.rglob("*.py")):
        if path.relative_to(HOUSE).parts[0] != "models":
            lines = kinds_asked(path.read_text())
            assert not lines, f"{path}:{lines[0]}: asks for a kind of model; ask `Architecture` for a capability"


@pytest.mark.parametrize(
    "line",
    [
        "if model.config.is_encoder_decoder: pass",
        "x = getattr(config, 'is_encoder_decoder', False)",
        "x = isinstance(architecture, EncoderDecoder)",
        "x = architecture is DECODER_ONLY",
        "x = 1 if architecture.task_type == 'CAUSAL_LM' else 2",
        "if 'Causal' in pretrained.architecture.auto_class: pass",
        "if pretrained.encoder_decoder: pass",
    ],
)
def test_the_search_for_kinds_finds_a_planted_one(line: str) -> None:
    assert kinds_asked(line)
    assert not kinds_asked("if not architecture.one_sequence: save(task_type=architecture.task_type)")
