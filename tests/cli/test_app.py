"""The command line is frozen: a command or option that changes must change here too, where a reviewer sees it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from holdfast.cli.app import app

ROOT = Path(__file__).parents[2]

FROZEN = """
demo: --model --out --json
tune: MODEL TASK --method --general --curate --edit --decode --probe --shots --limit --seed --curve --analyse --out --set --demonstrations --plan --noise-floor --overwrite --dtype --device --trust-remote-code --json
evaluate: MODEL --prompt --base --task --shots --limit --seed --demonstrations --demonstration-sets --metric --analyse --decode --set --out --dtype --device --engine --trust-remote-code --trust-code --json --against --target --overwrite --judge --judge-labels
generate: MODEL --prompt --base --input --max-new-tokens --stop --num-beams --temperature --top-k --top-p --samples --seed --decode --set --dtype --device --engine --trust-remote-code
edit: BASE TUNED --edit --out --set
compare: RUNS --floor --policy --summary --out --json
study: MODEL --out --method --target --general --seeds --shots --limit --curve --analyse --match --demonstrations --jobs --executor --dtype --device --drop-weights --set --trust-code --json
report: RUN --moved --json
push: RUN REPO --public --with-report
playground: MODEL --against --task --host --port --dtype --device --trust-remote-code --trust-code
serve: MODEL --prompt --base --host --port --dtype --device --trust-remote-code
wordings: MODEL TASK --input --instruction --rows --dtype --device --trust-remote-code --json
run: CONFIG --out --device --trust-remote-code --trust-code --json
methods: NAME --json
curations: NAME --json
edits: NAME --json
decodings: NAME --json
analyses: NAME --json
tasks: --build --out --json
doctor: MODEL --plan --rows --tokens --answer --prompt-length --gradient-checkpointing --memory --dtype --device --trust-remote-code --json
"""  # noqa: E501
COMMANDS = {line.partition(":")[0]: line.partition(":")[2].split() for line in FROZEN.strip().splitlines()}


def test_the_commands_and_their_options_are_the_agreed_ones() -> None:
    group = typer.main.get_command(app)
    found = {
        name: [p.opts[-1] if p.param_type_name == "option" else (p.name or "").upper() for p in command.params]
        for name, command in group.commands.items()  # pyright: ignore[reportAttributeAccessIssue]
    }
    assert {name: [o for o in options if o != "--help"] for name, options in found.items()} == COMMANDS


def holdfast(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-m", "holdfast", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tune", "no/such/model", "no/such/task"], "no/such/model: no such folder"),
        (["tune", "lab", "no/such/task"], "no/such/task: no such folder, file or task"),
        (["tune", "lab", "lab:kind", "--shots", "x"], "--shots x: write whole numbers with commas"),
        (["evaluate", "no/such/model"], "no/such/model: no such folder"),
        (["compare", "no/such/run"], "no/such/run"),
        (["study", "no/such/study.yaml", "--out", "no/such"], "there is no such file; docs/study.md"),
        (["run", "no/such/config.yaml"], "no/such/config.yaml: there is no such file"),
        (["generate", "lab", "--input", "no/such.txt"], "no/such.txt: no such file or directory"),
        (["generate", "lab", "--input", "LICENSE", "--max-new-tokens", "5000"], "5000 new tokens leave no room"),
        (
            ["study", "lab", "--method", "full", "--out", "no"],
            "a study needs at least one --target, or a file with its plan",
        ),
        (["study", "lab", "--target", "lab:kind", "--out", "no"], "a study needs at least one --method, or a file"),
        (["study", "no/such.yaml", "--out", "no"], "no/such.yaml: there is no such file"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_1(arguments: list[str], said: str) -> None:
    done = holdfast(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "Traceback" not in done.stderr


def test_prompts_that_lose_their_beginning_are_counted() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "holdfast", "generate", "lab", "--max-new-tokens", "1"]
    text = "the bird\n" + "the bird " * 1000
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, input=text, timeout=120, check=False)
    assert len(done.stdout.splitlines()) == 2
    assert "1 of 2 prompts did not fit" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["compare", "runs", "--polciy", "x"], ["compare"], ["nonesuch"], ["tune", "lab", "lab:kind", "--limit", "0"]],
)
def test_a_mistyped_command_does_not_end_with_the_code_of_a_gate_that_found_a_loss(arguments: list[str]) -> None:
    done = holdfast(*arguments)
    assert done.returncode == 1
    assert "Error" in done.stderr


def test_an_option_of_other_tools_is_answered_with_the_way_to_set_a_field() -> None:
    done = holdfast("tune", "lab", "lab:kind", "--lr", "3e-5")
    assert done.returncode == 1
    assert "--set model.learning_rate=3e-5" in " ".join(done.stderr.split())
    assert "--set model" not in holdfast("compare", "runs", "--lr", "1").stderr


def test_the_end_of_a_command_does_not_look_at_every_object_again() -> None:
    program = (
        "import atexit, gc, sys; sys.argv = ['holdfast', '--version']; from holdfast.cli.app import main; "
        "atexit.register(lambda: print(gc.get_freeze_count() > len(gc.get_objects()))); main()"
    )
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[-1] == "True"


def test_debug_shows_the_traceback() -> None:
    done = holdfast("--debug", "run", "no/such/config.yaml")
    assert "Traceback" in done.stderr


def test_an_extra_in_brackets_is_no_markup_of_the_help() -> None:
    # Rich takes [word] for a style, and leaves it out.
    for command in typer.main.get_command(app).commands.values():  # pyright: ignore[reportAttributeAccessIssue]
        for parameter in command.params:
            assert not re.search(r"\w\[[a-z]+\]", getattr(parameter, "help", None) or ""), parameter.name


def test_lists_come_as_records_too() -> None:
    for command in ("methods", "edits", "analyses", "tasks"):
        records = [json.loads(line) for line in holdfast(command, "--json").stdout.splitlines()]
        assert records, command
        assert all(set(record) >= {"name", "summary", "source"} for record in records), command


def test_scores_of_three_shots_fit_80_columns_with_the_metric_in_full() -> None:
    done = holdfast("evaluate", "lab", "--task", "lab:from-zan", "--limit", "2", "--shots", "0,1,4")
    assert "exact_match" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_evaluate_prints_points_of_100_and_records_keep_the_unit_of_their_metric(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from holdfast.cli import output
    from holdfast.results.scores import Score

    scores = [
        Score(
            variant="base", prompt=None, task=task, role="general", shots=0, metric=metric, n=20, value=value, low=low,
            high=high, stderr=0.1,
        )
        for task, metric, value, low, high in (
            ("kind", "exact_match", 0.85, 0.639, 0.948),
            ("french", "bleu", 31.44, 28.0, 34.5),
            ("text", "perplexity", 12.345, 11.0, 13.0),
        )
    ]  # fmt: skip
    output.scores(scores, False, lambda: output.table(scores))
    shown = capsys.readouterr().out
    assert "85.0 [63.9,94.8]" in shown
    assert "31.4 [28.0,34.5]" in shown, "BLEU is defined in points"
    assert "12.3 [11,13]" in shown
    assert "Points of 100 (perplexity: its own unit) [95 % interval over items]." in shown
    output.scores(scores, True, lambda: None)
    assert [json.loads(line)["value"] for line in capsys.readouterr().out.splitlines()] == [0.85, 31.44, 12.345]
    output.table(scores[:1])
    assert "exact_match, points of 100" in capsys.readouterr().out


LISTINGS = ["--help", "methods", "curations", "edits", "decodings", "analyses", "tasks"]


def imported_by(*arguments: str) -> set[str]:
    """Run a command to its end, without an error; return the top-level packages that it imported."""
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('imported', *{name.split('.')[0] for name in sys.modules}))\n"
        f"sys.argv = ['holdfast', *{arguments!r}]\n"
        "from holdfast.cli.app import main\nmain()"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("command", LISTINGS)
def test_a_listing_does_not_wait_for_torch(command: str) -> None:
    assert not {"torch", "transformers", "peft", "accelerate"} & imported_by(command)


def test_a_report_does_not_wait_for_torch(tmp_path: Path) -> None:
    from tests.report.example_run import make

    make(tmp_path)
    assert not {"torch", "transformers", "peft", "accelerate"} & imported_by("report", str(tmp_path))
    assert (tmp_path / "report.html").exists()


def test_the_doctor_without_a_model_does_not_wait_for_transformers() -> None:
    assert "transformers" not in imported_by("doctor")


def test_a_users_file_that_exits_ends_no_command_as_if_it_were_done(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import sys\nsys.exit(0)\n")
    done = holdfast("tune", "lab", "lab:kind", "--method", f"{path}:Mine", "--out", str(tmp_path / "run"))
    assert done.returncode == 1
    assert done.stderr == f"holdfast: {path}:2: SystemExit: 0; the file must run as a module\n"
    assert not (tmp_path / "run").exists()


def test_the_listing_names_every_method_and_a_name_shows_the_fields_that_set_reaches() -> None:
    """With the fields of each the list had 380 lines, of which a terminal showed the last forty."""
    text = holdfast("methods").stdout
    assert "prefix_tuning" in text
    assert "`holdfast methods NAME` explains one" in " ".join(text.split())
    assert len(text.splitlines()) < 230
    explained = holdfast("methods", "prefix_tuning").stdout
    for field in ("length=50", "init='vocabulary'", "seed=0", "hidden=0", "network_rate=0.1"):
        assert f".{field} " in explained


def test_help_begins_with_what_a_newcomer_needs_and_names_one_command() -> None:
    text = holdfast("--help").stdout
    panels = ["Start here", "Use what a run left", "Further experiments", "What there is to choose from"]
    assert [text.index(panel) for panel in panels] == sorted(text.index(panel) for panel in panels)
    assert text.index("│ demo ") < text.index("│ tune ") < text.index("│ serve ")
    assert "Usage: holdfast " in text, "as every page calls it, also by python -m holdfast"
    assert holdfast("--version").stdout.startswith("holdfast ")
    options = holdfast("tune", "--help").stdout
    assert options.index("--method") < options.index("--curate") < options.index("--dtype")
    assert "runs/TASK-METHOD" in options, "a default that is not said is looked for"
    assert "--trust-remote-code " in options, "a name of an option must not be cut at 80 columns"
    assert "<" not in options, "`--plan <bool>` looks as if a switch took a value"
    assert "{MODEL} {TASK}..." in options


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["methods", "promot"], ["prompt.length=50", "a whole number, at least 1", "model.steps=200", "Example: holdfast tune"]),
        (["methods", "l2_sp"], ["model.strength=0.01", "--method full+l2_sp"]),
        (["edits", "lines"], ["edit.alpha=0.5", "--edit lines"]),
        (["edits", "model_stock"], ["holdfast edit BASE TUNED TUNED --edit model_stock --set scale=1.0 --out edited/"]),
        (["curations", "s3ft"], ["curate.shots=0", "exact, answer, number, f1"]),
        (["decodings", "logits_fusion"], ["decode.small=''", "--decode logits_fusion --set decode.small=VALUE --set decode.experts=VALUE"]),
        (["analyses", "weight_drift"], ["Roy and Vetterli", "--analyse weight_drift"]),
    ],
)  # fmt: skip
def test_a_technique_explains_itself_without_torch(command: list[str], expected: list[str]) -> None:
    text = holdfast(*command).stdout
    assert all(part in " ".join(text.split()) for part in expected), text
    assert max(map(len, text.splitlines())) <= 200
    assert not {"torch", "transformers"} & imported_by(*command)


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (["tune", "lab", "lab:kind", "--set", "prompt.lenght=3"], "did you mean 'prompt.length'?"),
        (["tune", "lab", "lab:elicit-sentimen"], "did you mean `lab:elicit-sentiment`?"),
        (["tune", "lab", "lab:kind", "--general", "everydy"], "did you mean `everyday`?"),
        (["evaluate", "lab", "--task", "everyday:copyin"], "no such task"),
        (["generate", "lab", "--decode", "nothing"], "unknown decoding 'nothing'"),
        (["run", "no/such/config.yaml"], "there is no such file"),
        (["run", "tests"], "tests/config.yaml: there is no such file"),
        (["tune", "lba", "lab:kind"], "did you mean `lab`?"),
        (["evaluate", "lab", "--against", "no/such/model"], "no/such/model: no such folder"),
        (["evaluate", "lab", "--against", "lab", "--target", "lab:kinds"], "did you mean `lab:kind`?"),
        (["edit", "lab", "no/such/model", "--edit", "lines", "--out", "no"], "no/such/model: no such folder"),
        (["evaluate", "no/such.gguf"], "no/such.gguf: there is no such GGUF file"),
        (["evaluate", "lab", "--against", "no/such.gguf"], "no/such.gguf: there is no such GGUF file"),
        (["evaluate", "lab", "--prompt", "no/such/prompt"], "--prompt no/such/prompt: there is no such folder"),
        (["serve", "no/such/run"], "no/such/run: no such folder"),
        (["playground", "no/such"], "no/such: no run of `holdfast tune`"),
        (["playground", "lab", "--against", "no/such/model"], "no/such/model: no such folder"),
        (["study", "no/such/model", "--target", "lab:kind", "--out", "no"], "no/such/model: no such folder"),
        (["study", "lab", "--target", "lab:kind + lab:cuont", "--out", "no"], "did you mean `lab:count`?"),
        (["wordings", "lab", "lab:kinds"], "did you mean `lab:kind`?"),
    ],
)
def test_a_mistake_is_named_before_torch_is_imported(command: list[str], answer: str) -> None:
    code = (
        f"import sys\nsys.argv = ['holdfast', *{command!r}]\n"
        "from holdfast.cli.app import main\n"
        "try:\n    main()\nfinally:\n    print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert answer in done.stderr
    assert done.stdout == "False\n"
