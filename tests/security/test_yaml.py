"""YAML that somebody sent: bombs, depth, and damage end in one line with file and line, wherever YAML is read."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.api.tune import repeat
from holdfast.results.policy import read_policy
from holdfast.stages.assemble import recorded
from holdfast.studies.plan import read as read_plan
from holdfast.tasks.formats.settings import read_settings
from holdfast.tasks.yaml_files import MOST_NODES, parse_yaml

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
HOSTILE = {
    "bomb": BOMB,
    "loop": "a: &a [*a]\n",
    "merge loop": "a: &a\n  <<: *a\n",
    "brackets": "a: " + "[" * 3000,
    "two megabytes of brackets": "[" * (2 << 20),
    "braces": "{a: " * 3000,
    "deep dashes": "- " * 3000 + "x",
    "date": "a: 2026-13-41\n",
    "digits": "a: " + "9" * 5000 + "\n",
    "object": "a: !!python/object/apply:os.system ['true']\n",
    "tab": "a:\n\t- b\n",
    "NUL": "a: \0\n",
    "not UTF-8": "a: \udcff\n",
    "large": "a: " + "x" * (9 << 20),
    "unhashable key": "{[]: 1}\n",
}
READERS: dict[str, Callable[[Path], object]] = {
    "task.yaml": read_settings,
    "policy.yaml": read_policy,
    "plan.yaml": read_plan,
    "config.yaml": repeat,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("name", READERS)
def test_hostile_yaml_is_one_short_line_at_once(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text, errors="surrogateescape")
    began = time.monotonic()
    with pytest.raises(ValueError, match=str(path)) as refused:
        READERS[name](path)
    # Unbounded, the bomb and the brackets take minutes; the machine may be busy.
    assert time.monotonic() - began < 20
    assert len(str(refused.value)) < 1000
    assert len(str(refused.value).splitlines()) == 1


def test_a_folder_with_a_bomb_is_not_taken_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("command: tune\n" + BOMB)
    with pytest.raises(ValueError, match="not the configuration of a run"):
        recorded(tmp_path)


def test_aliases_that_unfold_into_little_are_read() -> None:
    assert parse_yaml("a: &x [1, 2]\nb: *x\nc: {<<: {d: 1}}") == {"a": [1, 2], "b": [1, 2], "c": {"d": 1}}


def test_the_size_counts_aliases_written_out() -> None:
    entries = "x, " * (MOST_NODES // 20)
    parse_yaml(f"a: &a [{entries}]\n" + "b: [" + "*a, " * 15 + "]")
    with pytest.raises(ValueError, match="aliases written out"):
        parse_yaml(f"a: &a [{entries}]\n" + "b: [" + "*a, " * 25 + "]")


@pytest.mark.parametrize(
    "value", ["{}", "[1, 2]", "[[[[[[[[1]]]]]]]]", "'" + "x" * 5000 + "'", "1", "null", "true", "{a: [1]}"]
)
@pytest.mark.parametrize(
    "key", ["metric", "limit", "splits", "chat", "verbalizer", "stop", "name", "loss", "input", "no_key"]
)
def test_a_value_of_another_type_is_named_in_a_short_message(key: str, value: str, tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(f"{key}: {value}\n")
    message = str(path)  # some of these are good values
    try:
        read_settings(path)
    except ValueError as error:
        message = str(error)
    assert str(path) in message
    assert len(message) < 700


@pytest.mark.parametrize("name", ["", "a\\nb", "\\u001b]0;owned\\u0007", "a\\u202eb", "x" * 201, "\\0"])
def test_a_task_has_a_printable_name_of_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(f'name: "{name}"\n')
    with pytest.raises(ValueError, match="printable characters on one line"):
        read_settings(path)


CONFIG = "model: lab\ntask: lab:count\nmethod: full\n"


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("stages: [a]", "stages"),
        ("stages: {model: }", "stages"),
        ("stages: {model: 3}", "stages"),
        ("stages: {}\nshots: x", "shots"),
        ("stages: {}\nshots: []", "shots"),
        ("stages: {}\nlimit: -3", "limit"),
        ("stages: {}\ngeneral: 5", "general"),
        ("stages: {}\nseed: [1]", "seed"),
        ("stages: {}\ncurate: 5", "curate"),
    ],
)
def test_a_configuration_with_a_value_of_another_type_names_its_key(line: str, key: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG + line)
    with pytest.raises(ValueError, match=f"{path}: `{key}`"):
        repeat(path)


def test_a_method_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("model: lab\ntask: lab:count\nmethod: 5\nstages: {}\n")
    with pytest.raises(ValueError, match="`method`: 5"):
        repeat(path)
