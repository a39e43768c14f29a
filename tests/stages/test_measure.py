"""The evaluations of a run as a table, before anything has run; and each file of a run is read once, each model loaded once."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from holdfast.api.request import Request, plan_run
from holdfast.api.tune import tune
from holdfast.models import loading
from holdfast.recipes.pipeline import compose
from holdfast.recipes.plan import RecipePlan
from holdfast.recipes.techniques import Techniques
from holdfast.stages.evaluate import Evaluate
from holdfast.stages.measure import EvaluationSettings, delete_snapshots, plan_measurements
from holdfast.stages.stage import digest
from holdfast.tasks.formats import records
from holdfast.tasks.task import Example, Task
from holdfast.tasks.task_set import TaskRef, TaskSet
from holdfast.training import checkpoint
from tests.recipes.worlds import QUICK, write_world


def ref(name: str, role: Any = "target") -> TaskRef:
    """A task that is in memory alone."""
    made = TaskRef(name, role, f"{name}-version")
    made.__dict__["task"] = Task(name, {"test": (Example({"input": "x"}, "y"),)})
    return made


A, B, KEPT, PROBE = ref("a"), ref("b"), ref("kept", "general"), ref("probe", "diagnostic")


def plan(targets: tuple[TaskRef, ...], curve: int = 0, twice: bool = False, **techniques: str) -> list[tuple[Any, ...]]:
    """Return the plan of a run as rows: name, variant, whose weights, behind whose prompt, tasks, shots, step."""
    fields = RecipePlan("model", targets, {} if techniques["method"] == "prompt_tuning" else {"model": {"steps": 8}})
    pipeline = compose(Techniques(**techniques), fields, (KEPT, PROBE)).with_curve(fields, curve)
    questions = EvaluationSettings("model", "m", TaskSet(targets, (KEPT,), (PROBE,)), (0, 1), twice=twice)
    rows = []
    for stage in plan_measurements(pipeline.stages, questions):
        asked = stage if isinstance(stage, Evaluate) else stage.evaluated
        assert asked is not None
        tasks = " ".join(task.argument for task in asked.tasks)
        weights = "base" if asked.tuned is None else asked.tuned.name
        behind = asked.trained_prompt.name if asked.prompt == "on" and asked.trained_prompt else asked.prompt
        rows.append((stage.name, asked.variant, weights, behind, tasks, asked.shots, asked.step))
    return rows


BASE = [
    ("evaluate-base", "base", "base", None, "a", (0, 1), None),
    ("label-mass-base", "base", "base", None, "kept probe", (0, 1), None),
]


def test_a_run_without_a_prompt_is_measured_once_as_it_is() -> None:
    expected = [*BASE, ("evaluate-tuned-plain", "tuned", "model", None, "a kept probe", (0, 1), None)]
    assert plan((A,), method="full") == plan((A,), method="lora") == expected


def test_a_run_with_a_prompt_is_measured_with_and_without_it_and_along_its_course() -> None:
    assert plan((A,), method="promot", curve=2, twice=True) == [
        *BASE,
        ("evaluate-base-again", "base-again", "base", None, "a", (0, 1), None),
        ("evaluate-base-again", "base-again", "base", None, "kept probe", (0, 1), None),
        ("evaluate-tuned-on", "tuned", "model", "prompt", "a kept probe", (0, 1), None),
        ("evaluate-tuned-off", "tuned", "model", "off", "a kept probe", (0, 1), None),
        ("evaluate-prompt", "tuned", "base", "prompt", "a", (0,), 0),
        ("evaluate-prompt-general", "tuned", "base", "prompt", "kept", (0,), 0),
        ("evaluate-step-4", "tuned", "model", "prompt", "a", (0,), 4),
        ("evaluate-step-4", "tuned", "model", "off", "kept", (0, 1), 4),
        ("evaluate-step-8", "tuned", "model", "prompt", "a", (0,), 8),
        ("evaluate-step-8", "tuned", "model", "off", "kept", (0, 1), 8),
    ]


def test_of_several_targets_each_is_measured_behind_its_own_prompt() -> None:
    on = [row for row in plan((A, B), method="promot") if str(row[3]).startswith("prompt-")]
    assert on == [
        ("evaluate-tuned-on-a", "tuned", "model", "prompt-a", "a", (0, 1), None),
        ("evaluate-tuned-on-b", "tuned", "model", "prompt-b", "b", (0, 1), None),
        ("evaluate-prompt", "tuned", "base", "prompt-a", "a", (0,), 0),
        ("evaluate-prompt", "tuned", "base", "prompt-b", "b", (0,), 0),
    ]


def test_in_a_sequence_earlier_targets_are_measured_after_their_own_stage() -> None:
    full, promot = (plan((A, B), method=name) for name in ("full_sequential", "promot_sequential"))
    asked = ("a", (0, 1), None)
    assert [row for row in full if row[1] == "own-stage"] == [("evaluate-own-a", "own-stage", "model-a", None, *asked)]
    assert [row for row in promot if row[1] == "own-stage"] == [
        ("evaluate-own-a", "own-stage", "model-a", "prompt-a", *asked)
    ]
    assert [row[2] for row in full if row[1] == "tuned"] == ["model-b"]


def test_the_base_is_measured_again_in_another_manner_and_else_in_the_same() -> None:
    """With the same demonstrations in the same batches it would give the same numbers, and no noise floor."""
    stages = compose(Techniques("full"), RecipePlan("model", (A,)), (KEPT,)).stages
    questions = EvaluationSettings("model", "m", TaskSet((A,), (KEPT,)), (0, 1), 5, twice=True)
    base, others, again, others_again = (
        s if isinstance(s, Evaluate) else s.evaluated for s in plan_measurements(stages, questions)[:4]
    )
    for first, second in ((base, again), (others, others_again)):
        assert first
        assert second
        assert (first.variant, second.variant) == ("base", "base-again")
        assert (first.tasks, first.shots, first.limit) == (second.tasks, second.shots, second.limit)
        assert (first.demonstrations, second.demonstrations) == ("first", "sampled")
        assert first.batch_tokens != second.batch_tokens


def test_a_prompt_alone_needs_no_measurement_without_it() -> None:
    assert [row[0] for row in plan((A,), method="prompt_tuning")] == [*(row[0] for row in BASE), "evaluate-tuned-on"]


def test_an_edited_run_is_measured_as_any_other_and_the_edit_is_what_is_measured() -> None:
    plain, edited = plan((A,), method="promot", curve=2), plan((A,), method="promot", edit="lines", curve=2)
    assert [row[:2] + row[3:] for row in edited] == [row[:2] + row[3:] for row in plain]
    ends = ("evaluate-tuned-on", "evaluate-tuned-off")  # the course is that of the stage that was edited
    assert [row[2] for row in edited] == ["edit" if row[0] in ends else row[2] for row in plain]
    fields = RecipePlan("model", (A,))
    stages = compose(Techniques("full", edit="lines"), fields, (KEPT,)).stages
    questions = EvaluationSettings("model", "m", TaskSet((A,), (KEPT,)))
    tuned = next(s for s in plan_measurements(stages, questions) if isinstance(s, Evaluate) and s.variant == "tuned")
    assert tuned.tuned is stages[-1]
    assert fields.resolved["edit"] == {"alpha": 0.5, "beta": None, "post": "alpha"}


@pytest.mark.parametrize(
    ("settings", "techniques", "message"),
    [
        ({}, {"method": "prompt_tuning", "edit": "lines"}, "leaves no whole model whose weights could be edited"),
        ({"model": {"merge": False}}, {"method": "lora", "edit": "lines"}, "leave model.merge on"),
        ({"edit": {"alpah": 1}}, {"method": "full", "edit": "lines"}, "'edit.alpah'; did you mean 'edit.alpha'"),
        ({"edit": {"alpha": -1}}, {"method": "full", "edit": "lines"}, "edit.alpha=-1: "),
        ({"edit": {"alpha": 1}}, {"method": "full"}, "unknown stage 'edit'"),
        ({"edit": {"alpha": "sweep:2..1"}}, {"method": "full", "edit": "lines"}, "write sweep:LOW..HIGH"),
        ({"edit": {"alpha": "sweep:0..1:log"}}, {"method": "full", "edit": "lines"}, "begins above 0"),
        ({"edit": {"alpha": "sweep:0.5"}}, {"method": "full", "edit": "lines"}, "write sweep:LOW..HIGH"),
        ({"edit": {"alpah": "sweep"}}, {"method": "full", "edit": "lines"}, "'edit.alpah'; did you mean 'edit.alpha'"),
        ({"edit": {"alpha": "sweep:-2,-1"}}, {"method": "full", "edit": "lines"}, "edit.alpha=-1: "),
        (
            {"model": {"learning_rate": "sweep"}},
            {"method": "full"},
            "model.learning_rate=sweep: say between which values",
        ),
        (
            {"edit": {"alpha": "sweep"}, "sweep": {"flor": 1}},
            {"method": "full", "edit": "lines"},
            "did you mean 'sweep.floor'",
        ),
        ({"edit": {"alpha": "sweep"}, "sweep": {"points": 1}}, {"method": "full", "edit": "lines"}, "sweep.points=1: "),
        ({"sweep": {"floor": 0.9}}, {"method": "full", "edit": "lines"}, "nothing is swept"),
        ({}, {"method": "full", "edit": "shadow"}, "takes 2 models after the base, and a run makes one"),
        ({}, {"method": "full", "edit": "linse"}, "unknown edit 'linse'; did you mean 'lines'"),
        ({}, {"method": "full", "curate": "nothing"}, "unknown curation 'nothing'"),
    ],
)
def test_techniques_that_do_not_fit_are_refused_before_anything_runs(
    settings: dict[str, Any], techniques: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        compose(Techniques(**techniques), RecipePlan("model", (A,), settings), (KEPT,))


def test_a_run_reads_each_file_once_and_loads_each_model_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, the smallest ProMoT run parsed its target's files 11 times, and loaded and hashed its model 9 times."""
    world = write_world(tmp_path, pick=["w3", "w4"], copy=None)
    read, loaded, hashed = Counter[str](), Counter[str](), Counter[str]()
    parse, load, weigh = records.read_records, loading.load, loading.weights_hash

    def count(counter: Counter[str], function: Any) -> Any:
        def counted(argument: Any, *rest: Any, **options: Any) -> Any:
            counter[str(argument)[:200]] += 1
            return function(argument, *rest, **options)

        return counted

    monkeypatch.setattr("holdfast.tasks.loaders.readers.read_records", count(read, parse))
    monkeypatch.setattr(loading, "load", count(loaded, load))
    monkeypatch.setattr(loading, "weights_hash", count(hashed, weigh))
    general = [str(world / "copy")]
    tune(str(world / "model"), str(world / "pick"), "promot", general, out=tmp_path / "run", shots=(0,), **QUICK)
    assert set(read.values()) == {1}
    assert len(read) == 6, "three splits of two tasks"
    # Once to be measured, to stand behind the prompt that trains, and to be trained; the tuned model once, with and without its prompt.
    assert sorted(loaded.values()) == [1, 1]
    assert sum(hashed.values()) == 0


def test_analyses_without_a_curve_keep_one_point_and_config_yaml_says_a_number(tmp_path: Path) -> None:
    world = write_world(tmp_path, pick=["w3", "w4"])
    given = (str(world / "model"), (str(world / "pick"),), Techniques("full"), ())
    request = Request(*given, (0,), None, 0, 0, ("weight_drift",), False, False, None, {})
    config = plan_run(request, request.read_tasks(), tmp_path / "run").config
    assert repr(config["stages"]["model"]["curve"]) == "1"


def test_the_content_of_every_target_is_in_the_hash_of_what_is_trained(tmp_path: Path) -> None:
    """Else a run whose second target's examples have changed would keep the weights that the old ones trained."""
    world = write_world(tmp_path, pick=["w3", "w4"], copy=None)
    given = (str(world / "model"), (str(world / "pick"), str(world / "copy")), Techniques("full"), ())
    request = Request(*given, (0,), None, 0, 0, (), False, False, None, {})
    digests = []
    for _ in range(2):
        digests.append(digest(plan_run(request, request.read_tasks(), tmp_path / "run").pipeline.stages[-1]))
        with (world / "copy" / "train.jsonl").open("a") as file:
            file.write('{"input": "w5 w9", "target": "w5"}\n')
    assert digests[0] != digests[1]


def test_two_runs_of_one_stage_may_remove_its_weights_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arms of a study that differ in their edit end at the same moment. The bug: the second run failed, all of it done."""
    listed = checkpoint.snapshot_steps
    for step in (3, 6):
        checkpoint.snapshot_path(tmp_path, step).parent.mkdir(exist_ok=True)
        checkpoint.snapshot_path(tmp_path, step).touch()

    def and_then_others_came(folder: Path) -> list[int]:
        steps = listed(folder)
        checkpoint.snapshot_path(folder, 6).unlink()
        return steps

    monkeypatch.setattr(checkpoint, "snapshot_steps", and_then_others_came)
    delete_snapshots([tmp_path])
    assert listed(tmp_path) == []
