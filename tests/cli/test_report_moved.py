"""Items that moved, and two models that are one: what `report --moved`, `evaluate --against` and `compare` print."""

import json
from pathlib import Path

import pytest

from holdfast.models import loading
from tests.cli.commands import Commands
from tests.recipes.worlds import write_world
from tests.training import tiny


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, and another model that answers otherwise."""
    folder = write_world(tmp_path_factory.mktemp("world"), pick=["w3", "w4"], copy=None)
    loading.save(tiny.pretrained(seed=1), folder / "other")
    return folder


def test_every_item_that_moved_is_listed_lost_ones_first(
    world: Path, holdfast: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    tasks = ("--task", world / "pick", "--task", world / "copy")
    done = holdfast("evaluate", world / "model", "--against", world / "other", *tasks, "--out", world / "out")
    assert f"Items that moved: {world / 'out' / 'report.html'}#flips" in done.out
    assert f"holdfast report {world / 'out'} --moved all" in done.out
    records = [
        json.loads(line) for line in holdfast("report", world / "out", "--moved", "all", "--json").out.splitlines()
    ]
    order = [("lost", "gained", "both wrong").index(record["direction"]) for record in records]
    assert order == sorted(order)
    assert len(set(order)) == 3, "the two models differ in all three ways, or this shows nothing"
    page = (world / "out" / "report.html").read_text()
    assert page.count("data-kept=") == len(records)
    for word, direction in (("lost", "lost"), ("gained", "gained"), ("wrong", "both wrong")):
        chosen = [record for record in records if record["direction"] == direction]
        listed = holdfast("report", world / "out", "--moved", word).out.splitlines()
        assert [line for line in listed if line.startswith(f"{direction}: ")] == [
            f"{direction}: {r['task']}, item {r['index']}, {r['shots']}-shot" for r in chosen
        ]
        assert f"{len(chosen)} listed." in listed[-1] + listed[-2]
        assert max(map(len, listed)) <= 80
    assert {record["index"] for record in records} <= set(range(8))


def test_one_model_beside_itself_is_said_to_be_no_comparison(world: Path, holdfast: Commands) -> None:
    out = world / "same"
    done = holdfast("evaluate", world / "model", "--against", world / "model", "--task", world / "copy", "--out", out)
    said = f"Nothing was compared: {world / 'model'} is the same model as {world / 'model'}"
    assert said in " ".join(done.err.split())
    assert said in " ".join(done.out.split())
    assert said in (out / "report.html").read_text()
    (world / "holdfast.yaml").write_text("retention: 0.5\n")
    summary = world / "summary.md"
    gate = holdfast("compare", out, "--policy", world / "holdfast.yaml", "--summary", summary)
    assert "Nothing was compared" in " ".join(gate.err.split())
    assert said in summary.read_text()
    assert said in " ".join(holdfast("compare", out).out.split())


def test_a_prompt_without_a_target_is_said_to_be_no_comparison(world: Path, holdfast: Commands) -> None:
    from holdfast.prompts.deep_prefix import of_words

    of_words(loading.load(world / "model").model, [5, 6]).save(world / "prompt", base=str(world / "model"))
    measured = ("evaluate", world / "model", "--against", world / "prompt", "--shots", "0")
    done = holdfast(*measured, "--task", world / "copy", "--out", world / "alone")
    assert "a prompt counts on targets alone; name one with --target" in done.err
    done = holdfast(*measured, "--task", world / "copy", "--target", world / "pick", "--out", world / "targeted")
    assert "Nothing was compared" not in done.err + done.out


def test_saved_again_with_other_files_it_is_still_the_same_weights(world: Path, holdfast: Commands) -> None:
    loading.save(tiny.pretrained(), world / "copied")
    config = world / "copied" / "generation_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"max_length": 99}))
    done = holdfast(
        "evaluate", world / "model", "--against", world / "copied", "--task", world / "copy", "--shots", "0",
        "--out", world / "again",
    )  # fmt: skip
    assert "has the weights of" in done.err
