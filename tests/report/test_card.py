"""The model card: metadata a hub accepts, numbers from the scores, and code for the pieces that exist."""

import shutil
from pathlib import Path

import pytest
import yaml

from holdfast.models.architecture import of_run
from holdfast.report.card import write_card
from holdfast.results.run_folder import read


def parts(path: Path) -> tuple[dict, str]:
    _, head, body = path.read_text().split("---\n", 2)
    return yaml.safe_load(head), body


def test_metadata_holds_every_headline_number_before_and_after(run: Path) -> None:
    head, _ = parts(write_card(run, of_run(run)))
    assert head["library_name"] == "transformers"
    assert head["base_model"] == "acme/small-1b"
    assert head["tags"] == ["holdfast", "promot"]
    listed = {
        (result["dataset"]["name"], metric["name"]): metric["value"]
        for result in head["model-index"][0]["results"]
        for metric in result["metrics"]
    }
    states = {("base", None): "base", ("tuned", "on"): "prompt attached", ("tuned", "off"): "prompt removed"}
    judged = [score for score in read(run).scores if score.metric != "format_share"]
    assert len(listed) == len(judged)
    for score in judged:
        name = f"{score.metric}, {score.shots}-shot, {states[score.variant, score.prompt]}"
        assert listed[score.task, name] == pytest.approx(score.value, abs=1e-6)  # six decimals are written


def test_the_hubs_own_reader_accepts_the_card(run: Path) -> None:
    from huggingface_hub import ModelCard

    data = ModelCard.load(write_card(run, of_run(run))).data.to_dict()
    assert {result["dataset"]["name"] for result in data["model-index"][0]["results"]} == {
        score.task for score in read(run).scores
    }


def test_the_table_has_a_row_per_line_with_interval_and_verdict(run: Path) -> None:
    _, body = parts(write_card(run, of_run(run)))
    score = next(
        s for s in read(run).scores if s.task == "xsum" and s.prompt == "off" and s.shots == 0 and s.metric == "rougeL"
    )
    row = next(line for line in body.splitlines() if line.startswith("| xsum | 0 |"))
    assert f"{score.delta:+.1f} [{score.delta_low:.1f}, {score.delta_high:.1f}]" in row
    assert f"| {score.n} |" in row


@pytest.mark.parametrize(
    ("pieces", "there", "not_there"),
    [
        (("model",), ['from_pretrained("rte-promot/model")'], ["PeftModel", "separate file"]),
        (("prompt",), ['LM.from_pretrained("acme/small-1b")', "rte-promot/prompt"], ["rte-promot/model"]),
        (("adapter",), ['PeftModel.from_pretrained(model, "rte-promot/adapter")'], ["merge_and_unload", "/prompt"]),
        (("adapter", "prompt"), ['/adapter").merge_and_unload()', "rte-promot/prompt"], ["rte-promot/model"]),
        (("model", "prompt"), ['LM.from_pretrained("rte-promot/model")', "/prompt", "disable_adapter"], ["small-1b"]),
        ((), ["scores and no weights"], ["from_pretrained"]),
    ],
)  # fmt: skip
def test_the_code_loads_exactly_the_pieces_that_exist(
    run: Path, pieces: tuple[str, ...], there: list[str], not_there: list[str]
) -> None:
    for piece in ("model", "prompt"):
        shutil.rmtree(run / piece)
    for piece in pieces:
        (run / piece).mkdir()
    head, body = parts(write_card(run, of_run(run)))
    loading = body.split("## Loading")[1].split("## Limits")[0]
    for wanted in there:
        assert wanted in loading
    for unwanted in not_there:
        assert unwanted not in loading
    assert head["library_name"] == ("peft" if pieces and "model" not in pieces else "transformers")
    code = loading.split("```python\n")[1].split("```")[0] if pieces else ""
    compile(code, "card", "exec")


def test_a_local_base_model_is_named_in_the_text_but_not_as_a_hub_id(run: Path) -> None:
    path = run / "scores.jsonl"
    path.write_text(path.read_text().replace("acme/small-1b", "/data/models/mine"))
    head, body = parts(write_card(run, of_run(run)))
    assert "base_model" not in head
    assert "`/data/models/mine`" in body


def test_names_cannot_break_the_table(run: Path) -> None:
    path = run / "scores.jsonl"
    path.write_text(path.read_text().replace('"task": "trec"', '"task": "tr|ec <b>x</b>"'))
    _, body = parts(write_card(run, of_run(run)))
    assert "| tr\\|ec \\<b\\>x\\</b\\> | 0 |" in body
