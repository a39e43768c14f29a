"""Models behind a server in the commands: measured beside one that is here, and refused where weights are needed."""

import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.api.against import against
from holdfast.api.edit import edit_model
from holdfast.api.evaluate import evaluate
from holdfast.api.load import load
from holdfast.api.tune import tune
from holdfast.results.scores import read_scores
from holdfast.serving.roster import Roster
from tests.inference.fault_server import FaultServer
from tests.inference.fault_server import running as faulty
from tests.serving.running import running, write_choices

pytest.importorskip("uvicorn", reason="serving needs holdfast[serve]")
NAME = "openai:http://127.0.0.1:9/v1#x"


def test_a_served_model_beside_its_own_folder_lost_and_gained_nothing(tmp_path: Path) -> None:
    """Through stages, page and card; and with the base behind the server too."""
    lab, roster, task = load("lab"), Roster(), str(write_choices(tmp_path / "ranked", 12))
    roster.add("lab", "plain", lambda: lab)
    with running(roster) as url:
        for base in ("lab", f"openai:{url}#lab"):
            options: dict[str, Any] = {"shots": (0,), "limit": 12, "out": tmp_path / base[:3]}
            (folder,) = against(base, f"openai:{url}#lab", ["lab:count", task], **options)
            scores = read_scores(folder)
            assert {score.delta for score in scores if score.variant == "tuned"} == {0.0}
            assert {score.model for score in scores if score.variant == "tuned"} == {f"openai:{url}#lab"}
            assert (folder / "report.html").exists()
            stages = [path.name for path in (folder / "stages").rglob("*.json*")]
            assert "usage.json" in stages
            assert "received.jsonl" not in stages


def test_a_task_that_is_ranked_is_refused_before_anything_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_CACHE", str(tmp_path))
    ranked = str(write_choices(tmp_path / "ranked", 2))
    with faulty(FaultServer(lambda body: "yes")) as server:
        name = f"openai:{server.url}#x"
        for tasks in (["lab:count", ranked], [ranked]):
            with pytest.raises(ValueError, match="returns no log-probabilities of a prompt"):
                evaluate(name, tasks, limit=2)
        with pytest.raises(ValueError, match="returns no log-probabilities of a prompt"):
            against(name, name, ["lab:count", ranked], limit=2, out=tmp_path / "out")
        questions = [body for body in server.bodies if "echo" not in body]
        assert questions == [], "the tasks before it were not asked and paid"
        assert evaluate(name, "lab:count", limit=2)[0].n == 2


def test_a_conversation_reaches_a_chat_as_its_messages_behind_demonstrations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In plain text the server's chat template would be put around the roles that we wrote."""
    monkeypatch.setenv("HOLDFAST_CACHE", str(tmp_path / "cache"))
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Two and two?"}]
    shown = [{"role": "user", "content": "One and one?"}, {"role": "assistant", "content": "2"}]
    folder = tmp_path / "talk"
    folder.mkdir()
    answer = {"role": "assistant", "content": "4"}
    (folder / "train.jsonl").write_text(json.dumps({"messages": shown}) + "\n")
    (folder / "test.jsonl").write_text(json.dumps({"messages": [*talk, answer]}) + "\n")
    with faulty(FaultServer(lambda body: "4")) as server:
        scores = evaluate(f"openai:{server.url}/chat/completions#x", folder, shots=(0, 1))
    assert [score.value for score in scores] == [1.0, 1.0]
    chats = [body for path, body in zip(server.paths, server.bodies, strict=True) if path.endswith("/chat/completions")]
    assert [body["messages"] for body in chats] == [talk, [talk[0], *shown, talk[1]]]


@pytest.mark.parametrize(
    "use",
    [
        lambda out: tune(NAME, "lab:count", out=out),
        lambda out: edit_model("lab", [NAME], "wise_ft", out),
        lambda out: load(NAME),
    ],
    ids=["tune", "edit", "load"],
)
def test_a_served_model_is_refused_where_weights_are_needed(use: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a model behind a server can be asked"):
        use(tmp_path / "out")


def test_settings_of_loading_are_the_servers_business(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dtype: is the server's business"):
        evaluate(NAME, "lab:count", dtype="bf16")
    with pytest.raises(ValueError, match="--prompt is the server's business"):
        against("lab", NAME, "lab:count", prompt="p", out=tmp_path)
