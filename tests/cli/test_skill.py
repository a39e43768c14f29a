"""SKILL.md tells an agent the truth: every command in it runs, and its JSON has the keys that the text names."""

import json
import re
import shlex
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.testing import CliRunner

from holdfast.cli.app import app
from holdfast.results.policy import Outcome
from holdfast.results.scores import Verdict

VERDICTS = get_args(get_args(Verdict)[0])  # behind what reads an older word

TEXT = (Path(__file__).parents[2] / "SKILL.md").read_text(encoding="utf-8")
COMMANDS = [shlex.split(line) for line in re.findall(r"`(holdfast [^`]+)`", TEXT)]
# What makes each of them small; `demo` and the real commands of the text differ in nothing else.
SMALL = {
    "evaluate": ["--limit", "20", "--task", "lab:sentiment", "--target", "lab:elicit-sentiment", "--shots", "0"],
    "tune": ["--method", "full", "--general", "lab:sentiment", "--limit", "4", "--shots", "0", "--set", "model.steps=2"],
    "study": ["--general", "lab:sentiment", "--seeds", "1", "--limit", "4", "--shots", "0", "--set", "model.steps=2",
              "--set", "prompt.steps=2", "--set", "prompt.length=2"],
}  # fmt: skip
NAMES = {
    "BASE": "lab",
    "MODEL": "lab",
    "TASK": "lab:elicit-sentiment",
    "TUNED": "tuned",
    "RUN": "runs/check",
    "NAME": "promot",
}


def run(arguments: list[str], code: int | tuple[int, ...] = 0) -> list[dict[str, Any]]:
    """Run a command of the text in small; return its lines of JSON."""
    done = CliRunner().invoke(app, arguments)
    codes = code if isinstance(code, tuple) else (code,)
    assert done.exit_code in codes, f"{arguments}: {done.exit_code} {done.exception!r} {done.stderr}"
    return (
        [json.loads(line) for line in done.stdout.splitlines()]
        if "--json" in arguments or "generate" in arguments
        else []
    )


def small(command: list[str]) -> list[str]:
    arguments = [NAMES.get(word, word) for word in command[1:]]
    if arguments[0] == "evaluate":
        arguments = [word for word in arguments if word not in ("--limit", "100")]
    return arguments + SMALL.get(arguments[0], [])


def test_every_command_of_the_skill_runs_and_says_what_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "text: ida found the hat very ugly answer:"}\n')
    (tmp_path / "holdfast.yaml").write_text(re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)[0])
    run(small(shlex.split("holdfast tune MODEL TASK --out runs/a --json")))
    run(small(shlex.split("holdfast tune MODEL TASK --out runs/b --json")))
    (tmp_path / "tuned").symlink_to(tmp_path / "runs" / "a" / "model")
    records: dict[str, list[dict[str, Any]]] = {}
    for command in COMMANDS:
        if len(command) == 2 and command[1] not in ("methods",):
            continue  # A name in a sentence, and no command line.
        # The policy of the text on a few items: nothing is lost, and nothing can be told either.
        codes = (0, 2, 3) if "--policy" in command else (0,)
        records[" ".join(command)] = run(small(command), codes)
    key = next(name for name in records if name.startswith("holdfast report RUN"))
    (report,) = records[key]
    # Every key that the table of the text names is there, and no other is left out of it.
    named = re.findall(
        r"^\| `(\w+)` \|", TEXT.partition("## Read the outcome")[2].partition("A task's")[0], re.MULTILINE
    )
    assert {*named, "run", "change"} == set(report)
    assert {task["verdict"] for task in report["tasks"]} <= {*VERDICTS, "floor"}
    assert all({"base", "tuned", "verdict", "needed"} <= set(task) for task in report["tasks"])
    rules = next(lines for name, lines in records.items() if "--policy" in name)
    assert {"rule", "outcome", "measured", "items", "needed", "run"} <= set(rules[0])
    assert {rule["outcome"] for rule in rules} <= set(get_args(Outcome))
    (method,) = next(lines for name, lines in records.items() if name == "holdfast methods promot --json")
    assert {"settings", "loop"} <= set(method["stages"][0])


def test_every_verdict_and_outcome_is_explained() -> None:
    for word in (*VERDICTS, *get_args(Outcome), "floor"):
        assert f"`{word}`" in TEXT, word
