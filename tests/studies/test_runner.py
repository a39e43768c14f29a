"""A whole study on a tiny random model: shared work is done once, all of it can be resumed, and the records add up."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.api.against import against
from holdfast.api.analyse import analyse_run
from holdfast.api.evaluate import default_tasks
from holdfast.api.load import load
from holdfast.models import loading
from holdfast.results.scores import read_outputs, read_scores
from holdfast.results.study import read
from holdfast.results.tradeoff import points
from holdfast.stages.evaluate import Evaluate, LabelMass
from holdfast.studies import runner
from holdfast.tasks.task_set import TaskRef
from tests.training import tiny

ARMS = {
    "full": {"model.learning_rate": 1e-2},
    "promot": {"prompt.steps": 2, "prompt.length": 3, "prompt.learning_rate": 0.5},
    "prompt_tuning": {"prompt.steps": 2, "prompt.length": 3, "prompt.learning_rate": 0.5},
}
SHARED = {"model.steps": 4, "model.batch_size": 4}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    loading.save(tiny.pretrained(), folder / "model")
    for name, choices in (("pick", ["w3", "w4"]), ("choose", ["w5", "w6"]), ("copy", None)):
        for split, count in (("train", 12), ("validation", 4), ("test", 8)):
            words = [f"w{3 + (7 * i + len(split)) % 30}" for i in range(count)]
            lines = [
                json.dumps(
                    {"input": f"{w} w9", "target": choices[i % 2] if choices else w}
                    | ({"choices": choices} if choices else {})
                )
                for i, w in enumerate(words)
            ]
            (folder / name).mkdir(exist_ok=True)
            (folder / name / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
        (folder / name / "task.yaml").write_text('input: "{{ input }} w8"\n')
    return folder


def run(world: Path, arms: dict = ARMS, seeds: int = 2, **changed: Any):
    settings: dict[str, Any] = {
        "analyses": ["gradient_alignment", "weight_drift", "label_mass", "format_share"],
        "out": world / "study",
        "shots": (0,),
        "set": SHARED | {"prompt.batch_size": 4},
    } | changed
    model, target, general = str(world / "model"), [str(world / "pick")], [str(world / "copy")]
    return runner.study(model, arms, target, general, seeds=seeds, limit=3, curve=1, **settings)


@pytest.fixture(scope="module")
def study(world: Path):
    return run(world)


def test_every_arm_is_summed_up_over_its_seeds(world: Path, study) -> None:
    assert not study.failed
    assert [(cell.arm, cell.seeds) for cell in study.cells] == [(arm, 2) for arm in ARMS]
    for cell in study.cells:
        runs = [read_scores(path) for path in (world / "study/runs").glob(f"pick--{cell.arm}--*")]
        values = [
            100
            * next(
                s.value for s in found if (s.variant, s.task, s.step) == ("tuned", "pick", None) and s.prompt != "off"
            )
            for found in runs
        ]
        assert cell.target
        assert cell.target.mean == pytest.approx(sum(values) / 2)
    assert {one.arm for one in study.comparisons} == set(ARMS) - {"full"}
    assert (world / "study/study-steps-pick.svg").exists()
    assert read(world / "study") == runner.replace(study, failed=[])


def test_every_task_that_was_asked_is_summed_up_too(world: Path, study) -> None:
    found = {(one.arm, one.asked): one for one in study.answered}
    assert set(found) == {(arm, asked) for arm in ARMS for asked in ("pick", "copy")}
    for cell in study.cells:
        assert found[cell.arm, "pick"].score == cell.target
        # The untrained base gets nothing right there, so the task is shown and counts in no mean.
        assert found[cell.arm, "copy"].base == 0
        assert found[cell.arm, "copy"].floored
        assert not found[cell.arm, "pick"].floored
        assert found[cell.arm, "copy"].score is not None
        assert cell.change is None
    lines = (world / "study/study.md").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("| copy, 0 shots"))
    assert line.count("|") == 3 + len(ARMS)
    assert line.split("|")[2].strip() == "0.0 f"


def test_tasks_joined_are_one_target(world: Path, tmp_path: Path) -> None:
    """A run of both; their score is the mean of both, and the places of its parts are kept apart."""
    both = f"{world / 'pick'} + {world / 'copy'}"
    arms = {"full": {"model.steps": 2, "model.batch_size": 4}, "full_sequential": {"model.steps": 2}}
    shared = {"out": tmp_path, "seeds": 1, "limit": 3, "shots": (0,)}
    found = runner.study(str(world / "model"), arms, [both], **shared)
    assert not found.failed
    assert [path.name for path in sorted((tmp_path / "runs").iterdir())] == [
        "pick+copy--full--0",
        "pick+copy--full_sequential--0",
    ]
    for cell in found.cells:
        assert cell.target
        parts = [one.score.mean for one in found.answered if one.score and one.arm == cell.arm and one.role == "target"]
        assert len(parts) == 2
        assert cell.target.mean == pytest.approx(sum(parts) / 2)


def test_the_points_are_measured_on_the_way_and_their_weights_are_gone(world: Path, study) -> None:
    for arm, steps in (("full", [0, 4]), ("promot", [0, 4]), ("prompt_tuning", [0, 1])):
        course = points(read_scores(world / f"study/runs/pick--{arm}--0"))
        assert [point.step for point in course] == steps
    assert not list((world / "study/stages").glob("*/points/*"))


def test_an_edited_arm_is_not_credited_with_the_course_of_its_training(world: Path, tmp_path: Path) -> None:
    """The bug: its retention at the matched score was that of the training, so WiSE-FT had the number of the arm without it."""
    arms = {"full": {"model.learning_rate": 1e-2}, "back": {"method": "full", "edit": "wise_ft", "edit.alpha": 0.0}}
    found = run(world, arms, seeds=1, out=tmp_path, set=SHARED, analyses=[])
    full, back = found.courses
    assert [point.step for point in full.points] == [0, 4]
    # The edit goes back to the base all the way; the points of its training, which are measured too, do not stand in the course.
    assert [(point.step, point.target) for point in back.points] == [(step, full.points[0].target) for step in (0, 4)]
    assert (full.followed, back.followed) == (True, False)
    assert (found.cells[1].matched, found.cells[1].area) == (None, None)
    assert read(tmp_path).courses == found.courses


@pytest.mark.parametrize("arm", ["full", "promot"])
def test_the_last_point_is_the_weights_at_the_end(world: Path, study, arm: str) -> None:
    """The rebuilt model must be the trained one: validation runs once, at the last step, so both hold the same weights."""
    scores = read_scores(world / f"study/runs/pick--{arm}--0")
    target = "on" if arm == "promot" else None
    general = "off" if arm == "promot" else None
    for task, prompt in (("pick", target), ("copy", general)):
        found = {
            s.step: s.value
            for s in scores
            if (s.variant, s.task, s.prompt) == ("tuned", task, prompt) and s.metric in ("accuracy", "exact_match")
        }
        assert found[4] == found[None]


def test_the_analyses_run_at_the_same_points(world: Path, study) -> None:
    lines = (world / "study/runs/pick--promot--0/analysis.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    assert {(one["analysis"], one["step"]) for one in found} >= {
        (name, step) for name in ("gradient_alignment", "weight_drift", "label_mass", "format_share") for step in (0, 4)
    }
    drift = {one["step"]: one["value"] for one in found if (one["measure"], one["where"]) == ("mean_abs", "layers.0")}
    assert drift[0] == 0.0
    assert drift[4] > 0.0
    assert {one["measure"] for one in found if one["analysis"] == "label_mass"} == {"mass_on", "mass_off"}
    assert {one["measure"] for one in found if one["analysis"] == "format_share"} == {"share_on", "share_off"}
    mass = {one["measure"]: one["value"] for one in found if (one["analysis"], one["step"]) == ("label_mass", 4)}
    assert abs(mass["mass_on"] - mass["mass_off"]) > 1e-4  # a prompt that is not attached leaves float32 noise, 1e-7
    html = (world / "study/runs/pick--promot--0/report.html").read_text()
    assert all(
        title in html for title in ("Gradient alignment", "Weight drift", "Label mass", "Where the format lives")
    )
    assert not (world / "study/runs/pick--prompt_tuning--0/analysis.jsonl").exists()  # the model does not move


def test_a_finished_run_is_explained_too(world: Path, study, tmp_path: Path) -> None:
    """The last point is the weights that are kept (validation runs once, at the end), so both must find the same."""
    folder = world / "study/runs/pick--promot--0"
    along = [json.loads(line) for line in (folder / "analysis.jsonl").read_text().splitlines()]
    names = ["weight_drift", "label_mass", "format_share"]
    found = analyse_run(str(folder), names, shots=1, limit=32, out=tmp_path)
    assert {one["measure"] for one in found} >= {"mass_on", "mass_off", "share_on", "share_off"}
    for one in found:
        same = [a for a in along if {**a, "step": None, "value": 0} == {**one, "value": 0} and a["step"] == 4]
        assert one["value"] == pytest.approx(same[0]["value"], rel=1e-4, abs=1e-7)
    assert [json.loads(line) for line in (tmp_path / "analysis.jsonl").read_text().splitlines()] == found
    assert default_tasks(str(folder)) == [str(world / "pick")]
    with pytest.raises(ValueError, match="not the folder of a run"):
        analyse_run(str(world / "model"), ["weight_drift"])


def test_the_prompt_of_stage_1_is_asked_the_general_tasks_too(world: Path, study) -> None:
    """Step 0 with the prompt attached: the same items as the base, which has not moved. The bug: the tuned model behind it."""
    scores = read_scores(world / "study/runs/pick--promot--0")
    found = {s.metric for s in scores if (s.prompt, s.role, s.step, s.shots) == ("on", "general", 0, 0)}
    assert found == {"exact_match", "format_share", "collapse_share", "first_token_mass"}
    other = read_scores(world / "study/runs/pick--prompt_tuning--0")  # the same prompt, in front of the base
    for metric in ("format_share", "first_token_mass"):
        values = [
            [s.value for s in of if (s.prompt, s.role, s.step, s.shots, s.metric) == ("on", "general", step, 0, metric)]
            for of, step in ((scores, 0), (other, None))
        ]
        assert values[0] == pytest.approx(values[1], abs=1e-6)
        assert values[0]


def test_what_runs_share_is_done_once(world: Path, study) -> None:
    names = [path.name.rpartition("-")[0] for path in (world / "study/stages").iterdir()]
    assert names.count("evaluate-base") == 2  # the target, and the general tasks: not for each of eight runs
    assert names.count("prompt") == 2  # one for each seed, for promot and prompt_tuning together
    assert names.count("evaluate-prompt") == 2
    assert names.count("model") == 4


def test_the_same_study_again_does_nothing_and_more_of_it_only_what_is_new(
    world: Path, study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner.runs, "tune", lambda **arguments: pytest.fail("a finished run is not opened again"))
    stages = {path: path.stat().st_mtime_ns for path in (world / "study/stages").glob("*/done.json")}
    again = run(world)
    assert again == study
    assert {path: path.stat().st_mtime_ns for path in (world / "study/stages").glob("*/done.json")} == stages
    with pytest.raises(ValueError, match="holds a study with another shots"):
        run(world, shots=(1,))


def test_a_run_that_fails_is_named_and_left_out(world: Path, study) -> None:
    arms = {
        "full": ARMS["full"],
        "lora": {"model.learning_rate": 0.1},
        "full-wild": {"method": "full", "model.learning_rate": 1e30},
    }
    found = run(world, arms, seeds=1, set=SHARED)
    assert [name for name, _ in found.failed] == ["pick--full-wild--0"]
    assert "the loss of step" in found.failed[0][1]
    assert [cell.arm for cell in found.cells] == ["full", "lora"]
    scores = [s for s in read_scores(world / "study/runs/pick--lora--0") if s.variant == "tuned"]
    kept, rebuilt = (
        [s.value for s in scores if s.step == step and s.metric in ("accuracy", "exact_match")] for step in (None, 4)
    )
    assert kept == rebuilt


def test_any_fault_ends_one_run_and_not_the_others(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = runner.runs.tune

    def tune(**arguments):
        if arguments["method"] == "lora":
            raise RuntimeError("CUDA error")
        return honest(**arguments)

    monkeypatch.setattr(runner.runs, "tune", tune)
    settings = {"seeds": 1, "limit": 3, "shots": (0,), "set": {"model.steps": 1}}
    found = runner.study(str(world / "model"), ["lora", "full"], [str(world / "pick")], out=tmp_path, **settings)
    assert [(name, wrong.partition(" (")[0]) for name, wrong in found.failed] == [
        ("pick--lora--0", "RuntimeError: CUDA error")
    ]
    assert "Traceback" in (tmp_path / "logs/pick--lora--0.txt").read_text()
    assert [cell.arm for cell in found.cells] == ["full"]


def test_a_run_is_repeated_with_its_analyses(world: Path, study, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}
    monkeypatch.setattr(runner.runs, "tune", lambda *arguments, **options: asked.update(options))
    runner.runs.repeat(world / "study/runs/pick--promot--0/config.yaml")
    assert asked["analyses"] == ["gradient_alignment", "weight_drift", "label_mass", "format_share"]
    assert asked["model_"]["curve"] == 1


def test_the_base_is_asked_the_general_tasks_once_for_all_targets(world: Path, tmp_path: Path) -> None:
    """Two targets: three evaluations of the base, and of each target only how probable its labels are. The bugs: the evaluation depends on
    the target again (four); the masses are of the other target, or in another order (the values)."""
    targets, others = [str(world / "pick"), str(world / "choose")], [str(world / "copy"), f"leetspeak:{world / 'copy'}"]
    settings = {"seeds": 1, "limit": 3, "shots": (0, 1), "set": {"model.steps": 1}}
    runner.study(str(world / "model"), {"full": None}, targets, others, out=tmp_path / "study", **settings)
    stages = list((tmp_path / "study/stages").iterdir())
    names = [path.name.rpartition("-")[0] for path in stages]
    assert (names.count("evaluate-base"), names.count("label-mass-base")) == (3, 2)
    for name, target in zip(("pick", "choose"), targets, strict=True):
        asked: dict = {"model": str(world / "model"), "tasks": (TaskRef(others[0], "general"),)}
        asked |= {"shots": (0, 1), "limit": 3}
        expected = Evaluate("asked-together", **asked, toward=TaskRef(target)).outputs(tmp_path)
        found = [
            output
            for output in read_outputs(tmp_path / f"study/runs/{name}--full--0")
            if (output.variant, output.role) == ("base", "general")
        ]
        # The run's own file also says which answers are in the target's format; the stage's does not.
        assert all("format_share" in output.scores for output in found)
        stage = [replace(o, scores={k: v for k, v in o.scores.items() if k != "format_share"}) for o in found]
        assert stage == list(expected)
        assert all("first_token_mass" in output.scores for output in found)
        scores = read_scores(tmp_path / f"study/runs/{name}--full--0")
        assert {(s.task, s.metric) for s in scores if s.role == "diagnostic"} == {("leetspeak:copy", "exact_match")}


def test_where_the_target_has_no_labels_nothing_is_loaded_to_look_for_them(world: Path, tmp_path: Path) -> None:
    tasks = (TaskRef(str(world / "pick"), "general"),)
    evaluated = Evaluate("evaluate-base", str(world / "model"), tasks=tasks, limit=3)
    outputs = list(evaluated.outputs(tmp_path))
    (world / "model").rename(world / "away")
    try:
        found = LabelMass("label-mass-base", evaluated, TaskRef(str(world / "copy")))
        answered = list(found.outputs(tmp_path))
    finally:
        (world / "away").rename(world / "model")
    assert answered == outputs


def test_weights_are_dropped_once_nothing_in_the_study_stands_on_them(world: Path, tmp_path: Path) -> None:
    """The same scores as with the weights kept, also of an edit that is added when what it edits has to be trained again."""
    plain = {"full": ARMS["full"], "promot": ARMS["promot"]}
    edited = {"edited": {"method": "full", "edit": "wise_ft", **ARMS["full"]}}

    def scores(out: Path) -> dict[str, list[float]]:
        return {run.name: [score.value for score in read_scores(run)] for run in sorted((out / "runs").iterdir())}

    kept, dropped = tmp_path / "kept", tmp_path / "dropped"
    run(world, plain | edited, out=kept)
    assert list(kept.rglob("model/*.safetensors"))
    run(world, plain, out=dropped, keep_weights=False)
    assert not list(dropped.rglob("model/*.safetensors"))
    assert list(dropped.glob("runs/*promot*/prompt/*.safetensors")), "prompts are small, and stay"
    # The base in the place of a model that is gone would be measured as if nothing had been lost.
    for name in ("full", "promot"):
        without = dropped / f"runs/pick--{name}--0"
        with pytest.raises(ValueError, match="its weights were removed by --drop-weights"):
            load(without)
        with pytest.raises(ValueError, match="its weights were removed by --drop-weights"):
            against(str(world / "model"), [str(without)], [str(world / "copy")], out=tmp_path / "out")
    # Made anew, with its model: what was noted of the one that went is past.
    (dropped / "runs/pick--full--0/done.json").unlink()
    run(world, plain, out=dropped)
    load(dropped / "runs/pick--full--0")
    run(world, plain | edited, out=dropped, keep_weights=False)
    assert not list(dropped.rglob("model/*.safetensors"))
    assert scores(dropped) == scores(kept)


def test_weights_stay_while_an_arm_of_their_round_has_failed(world: Path, tmp_path: Path) -> None:
    diverging = {"full": ARMS["full"], "fast": {"method": "full", "model.learning_rate": 1e30}}
    found = run(world, diverging, out=tmp_path, seeds=1, keep_weights=False, analyses=[], set=SHARED)
    assert [name for name, _ in found.failed] == ["pick--fast--0"]
    assert list(tmp_path.glob("runs/*--full--0/model/*.safetensors"))
