"""The demo's runs are the same for both methods, and their settings are ones that the methods have."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast import lab
from holdfast.api import tune as runs
from holdfast.api.request import Request, plan_run
from holdfast.cli import demo
from holdfast.models import smollm2
from holdfast.recipes.assignments import nested
from holdfast.recipes.techniques import Techniques


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the demo would have tuned."""
    made: list[dict[str, Any]] = []

    def tune(model: str, task: str, method: str, general: Any, **options: Any) -> SimpleNamespace:
        made.append({"model": model, "task": task, "method": method, "general": general, **options})
        return SimpleNamespace(folder=options["out"])

    monkeypatch.setattr(runs, "tune", tune)
    return made


@pytest.mark.parametrize("model", ["lab", str(lab.folder())])
def test_every_run_of_a_demo_can_be_planned(tmp_path: Path, calls: list[dict[str, Any]], model: str) -> None:
    """A field that no stage has, or a task that is not there, would only be seen when somebody runs the demo."""
    folders = demo.demo(tmp_path, model)
    assert len(set(folders)) == len(calls) >= 2
    for call in calls:
        names = ("model", "task", "method", "general", "shots", "limit", "out", "stage_root", "dtype")
        fields = {key: value for key, value in call.items() if key not in names}
        request = Request(
            call["model"], (call["task"],), Techniques(call["method"]), tuple(call["general"]), call["shots"], call["limit"], 0, 0, (),
            False, False, None, nested(fields),
        )  # fmt: skip
        assert plan_run(request, request.read_tasks(), call["out"]).pipeline.stages


def test_the_real_demo_asks_the_model_that_is_fetched(
    tmp_path: Path, calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smollm2, "smollm2", lambda: "/cache/models/smollm2.gguf")
    demo.demo(tmp_path, "smollm2")
    assert {call["model"] for call in calls} == {"/cache/models/smollm2.gguf"}
    assert {call["method"] for call in calls} == {"full", "promot"}
    # Nothing of the lab: its words are not this model's.
    asked = {name for call in calls for name in (call["task"], *call["general"])}
    assert all(name.startswith("everyday:") for name in asked)
    assert len(asked) == len(demo.REAL.targets) + len(demo.REAL.general)
