"""Folders that somebody sent: nothing outside of them is read, uploaded or written, and what is damaged is named in one line."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from holdfast.api.push import push
from holdfast.evaluation.harness_samples import write_samples
from holdfast.models.loading import load as load_model
from holdfast.prompts.load import load
from holdfast.recipes.assignments import literal
from holdfast.results.scores import Output
from holdfast.stages.stage import MARK, check
from holdfast.studies.executors import Work
from holdfast.studies.plan import Arm, Plan
from holdfast.studies.runner import _check_folders, run_path
from holdfast.tasks.loaders.readers import read_file, read_folder
from holdfast.tasks.sources import short
from holdfast.tasks.task import Task, Template
from tests.report import example_run


def adapter(folder: Path, tensors: dict[str, torch.Tensor] | None = None, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    if tensors is not None:
        save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def soft(folder: Path, **config: Any) -> Path:
    return adapter(folder, {"prompt_embeddings": torch.ones(3, 4)}, **{"peft_type": "PROMPT_TUNING", **config})


@pytest.mark.parametrize(
    "parts", [["."], [".."], ["../outside"], ["/etc"], [], [3], None, "1", ["1", "1"], ["1/../1"], [["1"]], ["joined"]]
)
def test_the_parts_of_a_joined_prompt_lie_inside_of_it(parts: Any, tmp_path: Path) -> None:
    soft(tmp_path / "outside")
    folder = adapter(tmp_path / "joined", peft_type="JOINED", parts=parts)
    soft(folder / "1")
    adapter(folder / "joined", peft_type="JOINED", parts=["joined"])
    with pytest.raises(ValueError, match=r"joined: (its parts|joins)"):
        load(folder)


def test_a_part_that_is_a_link_is_refused(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "joined", peft_type="JOINED", parts=["1"])
    (folder / "1").symlink_to(soft(tmp_path / "outside"))
    with pytest.raises(ValueError, match="a link"):
        load(folder)


LORA = {"base_model.model.a.lora_A.weight": torch.ones(2, 4), "base_model.model.a.lora_B.weight": torch.ones(4, 2)}
DEEP = {"prompt_embeddings": torch.ones(3, 8)}


@pytest.mark.parametrize(
    ("tensors", "config"),
    [
        ({"prompt_embeddings": torch.ones(3, 4)}, {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 10**12}),
        ({"prompt_embeddings": torch.ones(3, 4)}, {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": "x"}),
        ({"prompt_embeddings": torch.ones(0, 4)}, {"peft_type": "PROMPT_TUNING"}),
        ({"prompt_embeddings": torch.ones(3, 4, dtype=torch.int64)}, {"peft_type": "PROMPT_TUNING"}),
        (DEEP, {"peft_type": "PREFIX_TUNING", "num_layers": float("inf"), "num_attention_heads": 1}),
        (DEEP, {"peft_type": "PREFIX_TUNING", "num_layers": -1, "num_attention_heads": 1}),
        (DEEP, {"peft_type": "PREFIX_TUNING", "num_layers": 0, "num_attention_heads": 0}),
        (DEEP, {"peft_type": "PREFIX_TUNING", "num_layers": {}, "num_attention_heads": 1}),
        (LORA, {"peft_type": "LORA"}),
        (LORA, {"peft_type": "LORA", "r": 0, "lora_alpha": 1}),
        (LORA, {"peft_type": "LORA", "r": "x", "lora_alpha": 1}),
        (LORA, {"peft_type": "LORA", "r": float("nan"), "lora_alpha": 1}),
        ({k: torch.ones(3) for k in LORA}, {"peft_type": "LORA", "r": 1, "lora_alpha": 1}),
        (LORA, {"peft_type": ["LORA"]}),
        (None, {"peft_type": "PROMPT_TUNING"}),
    ],
)
def test_a_damaged_adapter_is_one_line_with_its_folder(tensors: Any, config: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=str(tmp_path)) as refused:
        load(adapter(tmp_path, tensors, **config))
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["[]", "3", "{", "", "[" * 5000, '{"peft_type": NaN}', "\udcff"])
def test_a_configuration_that_is_none_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(text, errors="surrogateescape")
    with pytest.raises(ValueError, match=str(tmp_path)):
        load(tmp_path)


def test_push_uploads_no_link_and_no_other_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = tmp_path / "id_rsa.json"
    secret.write_text("SECRET")
    run = example_run.make(tmp_path / "run")
    (run / "model").mkdir(exist_ok=True)
    (run / "model" / "config.json").write_text("{}")
    (run / "model" / "notes.json").symlink_to(secret)
    for name in (".env", "train.py", ".hidden.json", "pickled.bin"):
        (run / "model" / name).write_text("SECRET")
    sent: dict[str, Any] = {}

    def create_commit(repo: str, operations: Any, commit_message: str) -> Any:
        for operation in operations:
            content = operation.path_or_fileobj
            sent[operation.path_in_repo] = content if isinstance(content, bytes) else Path(content).read_bytes()
        return SimpleNamespace(repo_url="there")

    api = SimpleNamespace(create_repo=lambda *a, **o: None, create_commit=create_commit)
    push(run, "me/mine", api=api)
    assert "config.json" in sent
    assert not [name for name, content in sent.items() if b"SECRET" in content]
    assert capsys.readouterr().err.count("it stays here") == 5


def test_a_token_in_the_hubs_answer_is_not_printed(tmp_path: Path) -> None:
    run = example_run.make(tmp_path / "run")
    (run / "model").mkdir(exist_ok=True)

    def refuses(*args: Any, **options: Any) -> None:
        raise OSError("401 for Authorization: Bearer hf_abcDEF123456 (token hf_abcDEF123456)")

    with pytest.raises(ValueError, match="not pushed") as refused:
        push(run, "me/mine", api=SimpleNamespace(create_repo=refuses))
    assert "abcDEF" not in str(refused.value)


def test_a_folder_whose_name_is_a_command_of_the_terminal_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "a\x1b[2J"
    folder.mkdir()
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text(lines(4, target="a"))
    with pytest.raises(ValueError, match="control characters") as refused:
        read_folder(folder)
    assert "\x1b" not in str(refused.value)


LONG = "ü" * 150


@pytest.mark.parametrize("name", [LONG, "..", "/", "a/..", "~", "***", "x" * 200])
def test_every_name_makes_a_short_name_of_a_file(name: str) -> None:
    made = short(name)
    assert 0 < len(made.encode()) <= 160
    assert made.strip("._-")
    assert "/" not in made


def test_samples_of_a_long_name_are_written(tmp_path: Path) -> None:
    task = Task(LONG, {}, Template(), "accuracy", "v", "here")
    output = Output("base", None, LONG, "general", 0, 0, "q", "a", "a")
    (path,) = write_samples(tmp_path, [output], [task])
    assert path.exists()


def test_runs_of_a_study_have_folders_of_their_own(tmp_path: Path) -> None:
    paths = [
        run_path(tmp_path, target, Arm(arm, "full"), 0) for target in (LONG * 2, LONG * 2 + "x") for arm in ("a", LONG)
    ]
    assert len(set(paths)) == 4
    assert all(len(path.name.encode()) <= 200 for path in paths)
    twice = [Work(run_path(tmp_path, target, Arm("a", "full"), 0), {}, "") for target in ("A/rte", "B/rte")]
    with pytest.raises(ValueError, match="two runs would have this folder"):
        _check_folders(twice)


def test_an_endless_sweep_is_refused_at_once() -> None:
    settings: dict[str, Any] = {f"model.field{i}": list(range(1000)) for i in range(3)}
    began = time.monotonic()
    with pytest.raises(ValueError, match="its lists make 1,000,000,000 arms"):
        Plan("lab", {"full": settings}, ["lab:count"]).resolved()
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("text", ["{[]:1}", "[" * 1000, "-" * 5000 + "1", "9" * 6000, "{1:2}[3]", "\0", "f()", "'a"])
def test_any_value_of_set_is_a_literal_or_text(text: str) -> None:
    literal(text)


@pytest.mark.parametrize("text", ["", "[]", "3", '{"files": 3}', "{", "[" * 3000])
def test_a_damaged_mark_says_what_to_remove(text: str, tmp_path: Path) -> None:
    (tmp_path / MARK).write_text(text)
    with pytest.raises(ValueError, match=r"done.json: is damaged; remove"):
        check(tmp_path)


def lines(count: int, **values: Any) -> str:
    return "".join(json.dumps({"input": f"q{i}", **values}) + "\n" for i in range(count))


@pytest.mark.parametrize(
    "text",
    [
        lines(2000, target="t" * 5000, choices=["a" * 5000, "b" * 5000]),
        lines(20_000, targt="x"),
        lines(3, target="x" * 1_000_000, choices=["a", "b"]),
        lines(3, target="x", choices=[str(i) for i in range(20_000)]),
        lines(3, **{"k" * 1_000_000: "x"}),
        "x" * 10_000_000,
    ],
    ids=["long targets", "bad lines", "one long target", "many choices", "long key", "10 MB of no JSON"],
)
def test_errors_of_large_files_are_short_and_soon(text: str, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(text)
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"data\.jsonl") as refused:
        read_file(path)
    # difflib of two texts of 5,000 letters takes a tenth of a second: thousands of lines took minutes.
    assert time.monotonic() - began < 30
    assert len(str(refused.value)) < 30_000


@pytest.mark.parametrize(
    "make", [lambda p: __import__("os").mkfifo(p), lambda p: p.symlink_to("/dev/zero")], ids=["FIFO", "/dev/zero"]
)
def test_a_file_without_an_end_is_not_read(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "test.jsonl")
    with pytest.raises(ValueError, match="no regular file"):
        read_folder(tmp_path)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the lab's model: a small one, so that each case may spoil it."""
    from holdfast import lab

    folder = tmp_path_factory.mktemp("small") / "model"
    shutil.copytree(lab.folder(), folder)
    return folder


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", "[]"),
        ("config.json", "{}"),
        ("config.json", "{"),
        ("config.json", '{"model_type": "llama", "hidden_size": "x"}'),
        ("config.json", '{"model_type": "llama", "hidden_size": -4}'),
        ("config.json", '{"model_type": "llama", "num_attention_heads": 0}'),
        ("config.json", '{"model_type": ["llama"]}'),
        ("config.json", "[" * 20000),
        ("tokenizer.json", "{}"),
        ("tokenizer.json", "{"),
        ("tokenizer.json", '{"model": {"type": "BPE"}}'),
        ("tokenizer_config.json", "[]"),
        ("tokenizer_config.json", '{"eos_token": 3}'),
        ("model.safetensors", ""),
        ("model.safetensors", "\x08\0\0\0\0\0\0\0{}      "),
        ("generation_config.json", "[]"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_model_is_one_line_with_its_folder(name: str, text: str, small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(small, folder)
    (folder / name).write_text(text)
    message = str(folder)  # transformers reads some of these all the same
    try:
        load_model(folder)
    except ValueError as error:
        message = str(error)
    assert str(folder) in message
    assert len(message.splitlines()) == 1
    assert len(message) < 1500
