"""Whole runs on chat data: the example of the documentation, and a chat template that fails."""

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import holdfast
from holdfast.models import loading
from holdfast.models.loading import Pretrained
from holdfast.prefix.model import PrefixModel
from holdfast.stages.stage import Inputs
from holdfast.stages.train import Train
from holdfast.tasks.task_set import TaskRef
from tests.tasks.text.test_chat import QWEN, template, tokenizer

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "chat"
PAGE = Path(__file__).parents[2] / "docs" / "add-a-task.md"


@cache
def pretrained() -> Pretrained:
    """A tiny random model of bytes with a chat template that has tools."""
    alphabet = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    inner = Tokenizer(models.BPE(alphabet, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    words = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|im_end|>")
    words.chat_template = template(QWEN, marked=False)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=1024,
        bos_token_id=None,
        eos_token_id=words.convert_tokens_to_ids("<|im_end|>"),  # pyright: ignore[reportArgumentType]
    )
    return Pretrained(LlamaForCausalLM(config).eval(), words, "bytes", "0" * 16)


def test_the_example_of_the_page_tunes_and_every_answer_is_learned(tmp_path: Path) -> None:
    """Of a conversation, the call and both answers get more likely."""
    loading.save(pretrained(), tmp_path / "model")
    fields = {"model.steps": 30, "model.learning_rate": 1e-2, "model.batch_size": 4, "model.demonstrations": 0}
    run = holdfast.tune(tmp_path / "model", EXAMPLE, "full", "none", shots=(0, 1), out=tmp_path / "run", **fields)
    outputs = [json.loads(line) for line in (run.folder / "outputs.jsonl").read_text().splitlines()]
    asked = next(output for output in outputs if output["shots"] == 1)
    # The call, the result and both answers of the demonstration stand before the question; the target is the last answer.
    assert asked["input"].count('<tool_call>\n{"name": "get_weather"') == 2
    assert asked["input"].endswith("And the sky?<|im_end|>\n<|im_start|>assistant\n")
    assert asked["target"] in ("Cloud.", "Storm.", "Clear.")
    stage = Train("model", str(tmp_path / "model"), (TaskRef.read(str(EXAMPLE)),))
    tuned = loading.load(run.folder / "model")
    (row,) = stage.sample(stage.read_tasks(Inputs({})), tuned, PrefixModel(tuned.model), 1)
    losses = []
    for model in (pretrained().model, tuned.model):
        with torch.no_grad():
            logits = model(torch.tensor([row.tokens])).logits[0, :-1]
        losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(row.tokens[1:]), reduction="none"))
    trained = torch.tensor(row.weights[1:]) > 0
    edges = trained.int().diff().eq(1).nonzero().flatten().tolist()
    assert len(edges) == 3
    gained = losses[0] - losses[1]
    # 3.6 nats and more for each answer here, 1.8 for what is masked; where the last answer alone is trained the others gain -0.1 and 0.6.
    for begin, end in zip(edges, [*edges[1:], len(trained)], strict=True):
        assert float(gained[begin:end][trained[begin:end]].mean()) > 2.5


def test_the_line_on_the_page_is_a_line_of_the_example() -> None:
    text = PAGE.read_text().partition("```json\n")[2].partition("```")[0]
    line, whole = json.loads(text), json.loads((EXAMPLE / "train.jsonl").read_text().splitlines()[0])
    assert [message["role"] for message in line["messages"]] == [message["role"] for message in whole["messages"]]
    assert [message["content"] for message in line["messages"]] == [message["content"] for message in whole["messages"]]


def test_a_chat_template_that_fails_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    loading.save(pretrained(), tmp_path / "model")
    source = "{% if messages[2].role == 'assistant' %}{{ raise_exception('no tools here') }}{% endif %}" + template(
        QWEN, marked=False
    )
    (tmp_path / "model" / "chat_template.jinja").write_text(source)
    with pytest.raises(
        ValueError, match=r"weather/train\[0\]: this tokenizer's chat template refuses the conversation: no tools here"
    ):
        holdfast.tune(tmp_path / "model", EXAMPLE, "full", "none", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_bytes_of_both_tests_are_the_same() -> None:
    assert tokenizer(None)("Rome")["input_ids"] == pretrained().tokenizer("Rome")["input_ids"]
