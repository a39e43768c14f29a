"""`holdfast serve` of what `tune` left, and of folders that other tools read: each name has the weights and the prompt that it says."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.api.evaluate import evaluate
from holdfast.api.load import load
from holdfast.api.tune import tune
from holdfast.inference.sampling import Sampling
from holdfast.results.run_folder import RunFolder
from holdfast.results.scores import read_outputs
from holdfast.serving.roster import Roster, roster_of
from tests.inference.fault_server import FaultServer
from tests.inference.fault_server import running as faulty
from tests.recipes.worlds import QUICK, write_world
from tests.serving.running import running

pytest.importorskip("uvicorn", reason="serving needs holdfast[serve]")
httpx: Any = pytest.importorskip("httpx")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"), pick=["w3", "w4"], copy=["w5", "w6"])


def trained(world: Path, method: str, *targets: str) -> Path:
    # A prompt alone has no stage that moves the model.
    fields = {name: value for name, value in QUICK.items() if method != "prompt_tuning" or name.startswith("prompt.")}
    targets_of = [world / name for name in targets]
    return tune(
        world / "model", targets_of, method, "none", shots=(0,), out=world / f"run-{method}-{len(targets)}", **fields
    ).folder


def answers(roster: Roster) -> dict[str, list[str]]:
    return {name: roster.model(name).generate(["w3 w4 w5", "w9 w8 w7 w3"], Sampling(8)) for name in roster.names}


def test_a_runs_names_have_the_weights_and_the_prompt_that_they_say(world: Path) -> None:
    run = trained(world, "promot", "pick")
    roster = roster_of(str(run))
    expected = {"pick": load(run, "on"), "run-promot-1": load(run, "off"), "model": load(world / "model")}
    assert roster.names == list(expected)
    logprobs = {name: roster.model(name).loglikelihood([("w3 w4", "w5")])[0].value for name in roster.names}
    assert logprobs == {name: model.loglikelihood([("w3 w4", "w5")])[0].value for name, model in expected.items()}
    assert len(set(logprobs.values())) == 3, "the three differ, so that an exchange would show"


def test_the_question_that_is_shown_is_of_the_first_target_as_the_run_asked_it(world: Path) -> None:
    """The bug: with "Hello" the copied command got an answer that no task has, and looked as if the model were broken."""
    for targets in (("pick",), ("pick", "copy")):
        run = RunFolder(trained(world, "promot", *targets))
        roster = roster_of(str(run.path))
        asked = [o for o in read_outputs(run.path) if (o.task, o.variant, o.shots) == (roster.names[0], "base", 0)]
        assert (roster.trial.prompt, roster.trial.target) in [(o.input, o.target) for o in asked]
        assert len(roster.trial.prompt) == min(len(o.input) for o in asked)
        assert roster.trial.task == roster.names[0]
        # An unfinished run has a model and no answers yet: the server starts all the same.
        run.outputs_file.rename(run.path / "aside")
        assert roster_of(str(run.path)).trial.prompt == "Hello"
        (run.path / "aside").rename(run.outputs_file)


def test_a_target_goes_by_its_short_name_and_by_its_argument(world: Path) -> None:
    """`lab:kind` is listed as `lab-kind`; who asks for `kind` gets the same model and no error, and never another of that name."""
    tuned = RunFolder(trained(world, "promot", "pick"))
    roster = roster_of(str(tuned.path))
    assert roster.full(str(world / "pick")) == "pick"
    assert roster.full("nobody") == "nobody"
    text = tuned.config_file.read_text()
    assert str(world / "pick") in text
    copied = tuned.path.with_name("run-copied")
    shutil.copytree(tuned.path, copied)
    (copied / "config.yaml").write_text(text.replace(str(world / "pick"), "lab:kind"))
    roster = roster_of(str(copied))
    assert roster.names[0] == "lab-kind"
    with running(roster) as url:
        asked = {"prompt": "w3 w4", "max_tokens": 4, "temperature": 0}
        texts = [
            httpx.post(f"{url}/completions", json=asked | {"model": name}).json()["choices"][0]["text"]
            for name in ("lab-kind", "kind", "lab:kind")
        ]
        assert texts == [load(tuned.path, "on").generate(["w3 w4"], Sampling(4))[0]] * 3
        assert httpx.get(f"{url}/models/kind").json()["id"] == "lab-kind"
        assert [model["id"] for model in httpx.get(f"{url}/models").json()["data"]] == roster.names


def test_a_served_target_gets_exactly_the_scores_of_the_run_behind_its_prompt(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranked choices behind the prompt, and without it under the run's own name."""
    monkeypatch.setenv("HOLDFAST_CACHE", str(tmp_path))
    run = trained(world, "promot", "pick")
    with running(roster_of(str(run))) as url:
        for name, prompt in (("pick", "on"), ("run-promot-1", "off")):
            there = evaluate(f"openai:{url}#{name}", world / "pick", shots=(0, 1))
            here = evaluate(run, world / "pick", prompt=prompt, shots=(0, 1))
            assert [(s.shots, s.value, s.low, s.high) for s in there] == [
                (s.shots, s.value, s.low, s.high) for s in here
            ]


def test_a_prompt_alone_shares_the_weights_of_its_base(world: Path) -> None:
    run = trained(world, "prompt_tuning", "pick")
    roster = roster_of(str(run))
    assert roster.names == ["pick", "run-prompt_tuning-1", "model"]
    assert len({id(roster.model(name).pretrained.model) for name in roster.names}) == 1
    assert roster.model("pick").prompt is not None
    assert roster.model("model").prompt is None
    # The prompt's folder alone is a model too: it with the prompt, and its base without.
    alone = roster_of(str(run / "prompt"))
    assert [alone.model(name).prompt is None for name in alone.names] == [False, True]


def test_every_target_of_a_run_has_its_prompt(world: Path) -> None:
    run = trained(world, "promot", "pick", "copy")
    roster = roster_of(str(run))
    assert roster.names == ["copy", "pick", "run-promot-2", "model"]
    values = [load(run, name).loglikelihood([("w3 w4", "w5")])[0].value for name in ("copy", "pick")]
    assert [roster.model(name).loglikelihood([("w3 w4", "w5")])[0].value for name in ("copy", "pick")] == values
    assert values[0] != values[1]


def command(*arguments: str, **variables: str) -> "subprocess.Popen[str]":
    line = [sys.executable, "-W", "ignore", "-m", "holdfast", *arguments]
    return subprocess.Popen(
        line, cwd=ROOT, env={**os.environ, **variables}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture
def started() -> Iterator[list["subprocess.Popen[str]"]]:
    """Servers of a test, none of which outlives it."""
    servers: list[subprocess.Popen[str]] = []
    yield servers
    for server in servers:
        server.kill()
        server.communicate()


def address(server: "subprocess.Popen[str]") -> str:
    """Read what the server says until it says its address."""
    assert server.stderr
    for line in server.stderr:
        if "/v1" in line:
            return line.split()[1]
    raise AssertionError(f"it ended with {server.wait()}")


def test_a_server_that_is_killed_starts_again_on_its_port_and_a_port_has_one_server(
    started: list["subprocess.Popen[str]"],
) -> None:
    server = command("serve", "lab", "--port", "0")
    started.append(server)
    url = address(server)
    body = {"model": "lab", "prompt": "the bird", "max_tokens": 4, "temperature": 0}
    first = httpx.post(f"{url}/completions", json=body, timeout=30).json()["choices"]
    port = url.rpartition(":")[2].removesuffix("/v1")
    second = command("serve", "lab", "--port", port)
    out, err = second.communicate(timeout=60)
    assert (second.returncode, out) == (1, "")
    assert f"127.0.0.1:{port}: address already in use; choose another --port" in err
    assert len(err.strip().splitlines()) == 1
    server.kill()
    server.communicate()
    again = command("serve", "lab", "--port", port)
    started.append(again)
    assert httpx.post(f"{address(again)}/completions", json=body, timeout=30).json()["choices"] == first
    began = time.monotonic()
    again.send_signal(signal.SIGTERM)
    _, err = again.communicate(timeout=30)
    assert time.monotonic() - began < 15
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_command_that_is_killed_pays_no_answer_twice(tmp_path: Path) -> None:
    """kill -9 in the middle: the same command goes on, its lines are whole, and one request at most (the one under way) is paid again."""
    prompts = [f"text {number}" for number in range(60)]
    (tmp_path / "prompts.txt").write_text("\n".join(prompts))

    def slow(body: dict[str, Any]) -> str:
        time.sleep(0.05)
        return body["prompt"].upper()

    with faulty(FaultServer(slow)) as server:
        line = ["generate", f"openai:{server.url}#x", "--input", str(tmp_path / "prompts.txt")]
        variables = {"HOLDFAST_CACHE": str(tmp_path / "cache"), "HOLDFAST_CONCURRENCY": "1"}
        first = command(*line, **variables)
        while len(server.bodies) < 20:
            time.sleep(0.01)
            assert first.poll() is None
        first.kill()
        first.communicate()
        second = command(*line, **variables)
        out, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    assert [json.loads(line)["output"] for line in out.splitlines()] == [text.upper() for text in prompts]
    assert 60 <= len(server.bodies) <= 61
    assert "answers of an earlier command that was stopped" in err
    assert not list((tmp_path / "cache").rglob("received.jsonl"))
