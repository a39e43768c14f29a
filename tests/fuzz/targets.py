"""The readers that take what somebody else wrote, each with valid inputs to begin from. A reader may refuse in one clear line, no more."""

import contextlib
import json
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import httpx
import torch
from safetensors.torch import save

from tests.fuzz import mutations as m
from tests.fuzz import task_files


@dataclass(frozen=True)
class Target:
    """A reader of bytes in an empty folder, the inputs to give it, and its part of a campaign."""

    read: Callable[[bytes, Path], object]
    inputs: m.Inputs
    part: float = 1.0


ROWS: list[Any] = [
    {"input": "Is it?", "target": "yes", "choices": ["yes", "no"]},
    {"input": "a", "target": "b", "answers": ["b", "c"], "id": 3},
    {"prompt": "p", "completion": "c"},
    {"prompt": "p", "chosen": "c", "rejected": "r"},
    {"instruction": "do", "input": "x", "output": "y"},
    {"text": "t", "label": "l"},
    {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]},
    {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": None, "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}}]}, {"role": "tool", "content": "3",
        "tool_call_id": "1"},
        {"role": "assistant", "content": "<think>\nx\n</think>\n\n3"}], "tools": [{"type": "function", "function": {"name": "f",
        "parameters": {}}}]},
]  # fmt: skip
GOOD = b"".join(m.as_json({"input": f"q{i}", "target": "yes" if i % 2 else "no", "kind": i}) + b"\n" for i in range(6))
TASK = {
    "name": "t", "metric": "accuracy", "input": "{{ input }}\n", "target": "target", "choices": "['yes', 'no']", "stop": ["\n"],
    "delimiter": " ", "separator": "\n\n", "verbalizer": {"yes": "ja", "no": "nein"}, "limit": 5, "keep": "kind > 0", "chat": False,
    "instruction": "Do.", "splits": {"test": "test"},
}  # fmt: skip
PIECES = [
    "{{ input }}", "{{ items | join(', ') }}", "{% for i in items %}{{ i }}{% endfor %}", "{% if n > 1 %}a{% else %}b{% endif %}",
    "'a' * 9",
    "{{ 'a' * n }}", "{% set x = input ~ n %}{{ x }}", "{{ '%d' | format(n) }}", "{{ range(n) | list }}", "{{ input.replace('a', 'b') }}",
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1) }}", "{{ turns[0].content }}", "{{ missing }}", "{{ none }}", "{{ n ** n }}",
    "{{ input | tojson }}",
    "{{ input.__class__ }}", "{% raw %}{{{% endraw %}", "{# c #}", "{{ dict(a=1) }}", "{{ cycler(1, 2).next() }}", "{{ [1] * n }}",
    "{%", "}}", "(", "|",
    "{% for i in range(n) %}", "{% endfor %}", "{{ namespace(a=1).a }}", "{% include 'x' %}", "{{ 1 / 0 }}", "{{ input | center(n) }}",
    "9" * 30,
]  # fmt: skip
FIELDS: dict[str, Any] = {
    "input": "aba",
    "items": [1, "x", None],
    "n": 7,
    "turns": [{"role": "user", "content": "c"}],
    "none": None,
}
CONFIG = {
    "command": "tune", "model": "lab", "task": "lab:count", "method": "promot", "general": ["lab:copy"], "shots": [0, 1], "limit": 3,
    "seed": 0,
    "curate": "mix", "edit": "lines", "date": "2026-01-01", "dtype": "fp32", "analyses": [], "noise_floor": False,
    "versions": {"holdfast": "1"},
    "stages": {"prompt": {"steps": 3, "learning_rate": 0.1, "length": 4}, "model": {"steps": 2, "schedule": "constant", "batch_size": 4}},
}  # fmt: skip
PLAN = {
    "model": "lab", "arms": {"full": None, "promot": {"model.steps": [1, 2]}, "a": {"method": "lora", "edit": "lines"}},
    "targets": ["lab:count"],
    "general": ["lab:copy"], "seeds": 2, "shots": [0], "limit": 4, "curve": 0, "match": 50.0, "set": {"model.batch_size": 4},
    "dtype": "auto",
}  # fmt: skip
POLICY = {
    "retention": 0.95,
    "gain": 0.0,
    "items": 3,
    "margin": 0.2,
    "tasks": {"rte": {"margin": 0.1, "floor": 0.5, "items": 2}},
}
ASSIGNMENTS = [
    "model.steps=3",
    "prompt.length=4",
    "model.learning_rate=1e-3",
    "model.trackers=[]",
    "prompt.init=text:a b",
    "model.clip=none",
]


def _task_rows(data: bytes, folder: Path) -> object:
    from holdfast.tasks.loaders.readers import read_file

    (folder / "data.jsonl").write_bytes(data)
    return read_file(folder / "data.jsonl")


def _table(data: bytes, folder: Path) -> object:
    from holdfast.tasks.loaders.readers import read_file

    path = folder / ("data.csv" if len(data) % 2 else "data.tsv")
    path.write_bytes(data)
    return read_file(path)


def _task_yaml(data: bytes, folder: Path) -> object:
    from holdfast.tasks.loaders.readers import read_folder

    (folder / "task.yaml").write_bytes(data)
    (folder / "train.jsonl").write_bytes(GOOD)
    (folder / "test.jsonl").write_bytes(GOOD)
    return read_folder(folder)


def _template(data: bytes, folder: Path) -> object:
    from holdfast.tasks.jinja import evaluate, fill

    text = data.decode("utf-8", "surrogatepass")
    return evaluate(text[1:], FIELDS) if text.startswith("e") else fill(text, FIELDS)


@cache
def _chat_tokenizer() -> Any:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))


def _chat_template(data: bytes, folder: Path) -> object:
    from holdfast.models.chat_date import fix_date
    from holdfast.tasks.task import Example, Template
    from holdfast.tasks.text.templates import render

    tokenizer = _chat_tokenizer()
    fix_date(tokenizer, "2026-01-31")
    tokenizer.chat_template = data.decode("utf-8", "replace")
    return render(Template(chat=True), Example({"input": "a"}, "b"), [Example({"input": "c"}, "d")], tokenizer)


def _planned(*arguments: Any, **options: Any) -> None:
    """Stand for `tune`: the names and settings are checked, and nothing is loaded."""
    from holdfast.recipes.assignments import nested
    from holdfast.recipes.pipeline import compose
    from holdfast.recipes.plan import RecipePlan
    from holdfast.recipes.techniques import Techniques
    from holdfast.tasks.task_set import TaskRef

    moments = [options.get(name) for name in ("curate", "edit", "decode", "probe")]
    fields = {key: value for key, value in options.items() if key.endswith("_")}
    compose(Techniques(arguments[2], *moments), RecipePlan(arguments[0], (TaskRef("lab:count"),), nested(fields)))


def _config(data: bytes, folder: Path) -> object:
    from unittest import mock

    from holdfast.api import tune

    (folder / "config.yaml").write_bytes(data)
    with mock.patch.object(tune, "tune", _planned):
        return tune.repeat(folder / "config.yaml")


def _plan(data: bytes, folder: Path) -> object:
    from unittest import mock

    from holdfast.studies import plan
    from holdfast.tasks import sources

    (folder / "plan.yaml").write_bytes(data)
    with mock.patch.object(sources, "load_tasks", return_value=[]):
        return plan.make(plan.read(folder / "plan.yaml"), "plan.yaml")


def _policy(data: bytes, folder: Path) -> object:
    from holdfast.results.policy import read_policy

    (folder / "policy.yaml").write_bytes(data)
    return read_policy(folder / "policy.yaml")


def _assignment(data: bytes, folder: Path) -> object:
    from holdfast.recipes.assignments import parse

    settings = parse([data.decode("utf-8", "replace")])
    return _planned("lab", "lab:count", "promot", **{f"{stage}_": values for stage, values in settings.items()})


ADAPTERS: list[tuple[dict[str, Any], dict[str, torch.Tensor]]] = [
    ({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3, "token_dim": 4}, {"prompt_embeddings": torch.ones(3, 4)}),
    ({"peft_type": "PREFIX_TUNING", "num_layers": 1, "num_attention_heads": 2}, {"prompt_embeddings": torch.ones(3, 8)}),
    ({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "use_rslora": False, "fan_in_fan_out": False},
     {"base_model.model.a.lora_A.weight": torch.ones(2, 4), "base_model.model.a.lora_B.weight": torch.ones(4, 2)}),
    ({"peft_type": "JOINED", "parts": ["1"]}, {}),
]  # fmt: skip
SAVED = [save(tensors) for _, tensors in ADAPTERS[:3]]


def _adapter(data: bytes, folder: Path) -> object:
    """Read an adapter whose configuration is spoilt, or, where the first byte is odd, its weights."""
    from holdfast.prompts.load import load

    number = data[0] % 3 if data else 0
    config, tensors = ADAPTERS[number]
    weights, text = (data[1:], m.as_json(config)) if data and data[0] % 2 else (save(tensors), data[1:])
    for home in (folder, folder / "1"):
        home.mkdir(exist_ok=True)
        (home / "adapter_config.json").write_bytes(text if home == folder else m.as_json(config))
        (home / "adapter_model.safetensors").write_bytes(weights)
    return load(folder)


def _weights(data: bytes, folder: Path) -> object:
    from holdfast.weights.safetensors_files import shards

    (folder / "model.safetensors").write_bytes(data)
    return shards(folder)


def _header(value: Any) -> bytes:
    text = m.as_json(value)
    return struct.pack("<Q", len(text)) + text + bytes(24)


def _index(data: bytes, folder: Path) -> object:
    from holdfast.weights.safetensors_files import shards

    (folder / "model.safetensors.index.json").write_bytes(data)
    (folder / "model-1.safetensors").write_bytes(SAVED[0])
    return shards(folder)


@cache
def _gguf_seed() -> bytes:
    import gguf
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        writer = gguf.GGUFWriter(Path(folder) / "a.gguf", "llama")
        writer.add_block_count(1)
        writer.add_embedding_length(8)
        writer.add_token_list(["<s>", "a", "b"])
        writer.add_tensor("token_embd.weight", np.ones((3, 8), dtype=np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return (Path(folder) / "a.gguf").read_bytes()


def _gguf(data: bytes, folder: Path) -> object:
    from holdfast.models.gguf_file import read_gguf

    (folder / "a.gguf").write_bytes(data)
    file = read_gguf(folder / "a.gguf")
    file.check_types()
    return file.architecture, file.fact("block_count")


@cache
def _lab_file(name: str) -> bytes:
    from holdfast import lab

    return (lab.folder() / name).read_bytes()


def _tokenizer(data: bytes, folder: Path) -> object:
    """Read a tokenizer of which one file is spoilt: by the first byte, which."""
    from holdfast.models.loading import load_tokenizer, prepare_tokenizer

    names = ("tokenizer.json", "tokenizer_config.json", "config.json")
    chosen = names[data[0] % 3] if data else names[0]
    for name in names:
        (folder / name).write_bytes(data[1:] if name == chosen else _lab_file(name))
    tokenizer = load_tokenizer(folder)
    prepare_tokenizer(tokenizer, str(folder))
    return tokenizer("a b c")


@cache
def _run_files() -> dict[str, list[Any]]:
    """Return the lines of a run's files, of one task."""
    from tests.report import example_run

    with tempfile.TemporaryDirectory() as home:
        run = example_run.make(Path(home) / "run")
        files = {}
        for name in ("scores.jsonl", "outputs.jsonl", "log.jsonl"):
            lines = [json.loads(line) for line in (run / name).read_text().splitlines()]
            files[name] = [line for line in lines if line.get("task", "rte") == "rte"][:60]
    files["analysis.jsonl"] = [{"analysis": "label_mass", "step": 1, "measure": "m", "where": "w", "value": 0.5}]
    files["sweep.jsonl"] = [
        {"settings": {"edit.alpha": 0.5}, "target": 0.5, "general": 0.5, "tasks": {"a": 1.0}, "chosen": True}
    ]
    return files


def _run_folder(data: bytes, folder: Path) -> object:
    """Read a run of which one file has a spoilt line: by the first byte, which."""
    from holdfast.report.console import text
    from holdfast.report.run.terminal import terminal
    from holdfast.results.run_folder import read
    from holdfast.results.sweep import read_sweep

    files = list(_run_files())
    chosen = files[data[0] % len(files)] if data else files[0]
    for name, lines in _run_files().items():
        rest = [m.as_json(line) for line in lines[: len(lines) - (name == chosen)]]
        (folder / name).write_bytes(b"\n".join([*rest, data[1:]] if name == chosen else rest) + b"\n")
    (folder / "config.yaml").write_text("command: tune\n")
    read_sweep(folder / "sweep.jsonl")
    read(folder)
    return text(terminal(folder))


def _study(data: bytes, folder: Path) -> object:
    from holdfast.report.study.study_markdown import markdown
    from holdfast.results.study import read

    (folder / "study.jsonl").write_bytes(data)
    return markdown(read(folder), "study")


SPREAD = {"mean": 50.0, "sd": 1.0, "n": 3}
NAMES = ("target", "gain", "change", "kept", "matched", "area", "stage_one", "format_share", "drift", "transfer")
STUDY: list[Any] = [
    {"record": "cell", "task": "t", "arm": "a", "method": "full", "settings": {}, "seeds": 3, "level": 50.0}
    | dict.fromkeys(NAMES, SPREAD),
    {
        "record": "answered",
        "task": "t",
        "arm": "a",
        "asked": "g",
        "role": "general",
        "shots": 0,
        "base": 40.0,
        "score": SPREAD,
    },
]


def _mark(data: bytes, folder: Path) -> object:
    from holdfast.stages.stage import MARK, check

    (folder / "model.safetensors").write_bytes(b"abc")
    (folder / MARK).write_bytes(data)
    return check(folder)


def _prompts(data: bytes, folder: Path) -> object:
    from holdfast.cli.prompt_lines import parse_prompts

    return parse_prompts(data.decode("utf-8", "replace"), "stdin")


@cache
def _checkpoint_files() -> dict[str, bytes]:
    from torch import nn

    from holdfast.training import checkpoint

    with tempfile.TemporaryDirectory() as home:
        parameter = nn.Parameter(torch.ones(2, 2))
        progress = {"step": 3, "best": None, "best_step": None, "token_budget": 8}
        optimizer, states = torch.optim.AdamW([parameter]).state_dict(), [checkpoint.random_state()]
        checkpoint.write(Path(home), checkpoint.Saved({"w": parameter}, optimizer, [{}], states, progress))
        return {path.name: path.read_bytes() for path in checkpoint.path_of(Path(home), 3).iterdir()}


def _checkpoint(data: bytes, folder: Path) -> object:
    from holdfast.training import checkpoint

    files = _checkpoint_files()
    chosen = sorted(files)[data[0] % len(files)] if data else "progress.json"
    home = folder / "checkpoint-3"
    home.mkdir()
    for name, content in files.items():
        (home / name).write_bytes(data[1:] if name == chosen else content)
    return checkpoint.read(home, {"w": torch.Size((2, 2))})


REPLY = {
    "id": "1", "model": "m", "choices": [{"index": 0, "text": "The end", "finish_reason": "length", "logprobs": {
        "tokens": ["The", " end", "."], "token_logprobs": [None, -1.5, -0.5], "text_offset": [0, 3, 7],
        "top_logprobs": [None, {" end": -1.5}, {".": -0.5}]}}],
    "usage": {"prompt_tokens": 2, "completion_tokens": 1},
}  # fmt: skip
CHAT_REPLY = {"choices": [{"message": {"role": "assistant", "content": "yes"}}], "usage": {"prompt_tokens": 2}}


class _Replies(httpx.BaseTransport):
    """A server that answers everything with the same bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=self.data)


def _reply(data: bytes, folder: Path) -> object:
    """Ask a server whose answers are spoilt: for a text, a chat, log-probabilities or its list of models, by the first byte."""
    from holdfast.inference.requests import Requests, RequestSettings
    from holdfast.inference.sampling import Sampling
    from holdfast.inference.served_model import ServedModel
    from holdfast.models.endpoint import endpoint_of

    sort, content = (data[0] % 4, data[1:]) if data else (0, b"")
    endpoint = endpoint_of(f"openai:http://127.0.0.1:9/v1{'/chat/completions' if sort == 1 else ''}#m")
    assert endpoint is not None
    requests = Requests(endpoint, None, RequestSettings(1, 1.0, 1, 0.001))
    requests._client = httpx.Client(transport=_Replies(content))
    model = ServedModel(requests)
    try:
        if sort < 2:
            return model.generate(["The"], Sampling(max_new_tokens=4))
        return model.room, model.count_tokens(["a"]) if sort == 3 else model.loglikelihood([("The", " end")])
    finally:
        requests.close()


CHATS = [
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}",
    "{% for m in messages %}{% if m['role'] == 'user' %}[U]{{ m['content'] }}{% else %}[A]{% generation %}{{ m['content'] }}</s>"
    "{% endgeneration %}{% endif %}{% endfor %}",
]


def _texts(draw: Random) -> str:
    parts = [draw.choice(PIECES) if draw.random() < 0.7 else draw.choice(m.TEXTS) for _ in range(draw.randint(1, 5))]
    return "".join(parts)


def _templates(draw: Random) -> bytes:
    text = _texts(draw)
    return (("e" + text.replace("{{", "").replace("}}", "")) if draw.random() < 0.4 else text).encode(
        "utf-8", "surrogatepass"
    )


def _chats(draw: Random) -> bytes:
    text = draw.choice(CHATS)
    for _ in range(draw.randint(0, 2)):
        start = draw.randint(0, len(text))
        text = text[:start] + _texts(draw) + text[start + draw.choice([0, 0, 3]) :]
    return text.encode("utf-8", "surrogatepass")


def _several(*inputs: tuple[int, m.Inputs]) -> m.Inputs:
    return m.mixture(*(m.behind(number, made) for number, made in inputs))


def _bytes_of(*seeds: bytes) -> m.Inputs:
    return lambda draw: m.spoilt(draw, seeds)


@cache
def targets() -> dict[str, Target]:
    """Return every reader by name; a reader whose package is not installed is left out."""
    names = ("tokenizer.json", "tokenizer_config.json", "config.json")
    tokenizers = [(number, _bytes_of(_lab_file(name))) for number, name in enumerate(names)]
    tokenizers += [(number, m.json_files([json.loads(_lab_file(name))])) for number, name in list(enumerate(names))[1:]]
    header = {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {"format": "pt"}}
    index = {"metadata": {"total_size": 24}, "weight_map": {"a": "model-1.safetensors", "b": "model-1.safetensors"}}
    csv = (b"input,target\n" + b"".join(b"q%d,a\n" % i for i in range(6)), b'input\ttarget\nq1\ta\nq2\t"b\tc"\nq3\td\n')
    adapters = [(number, m.json_files([ADAPTERS[number % 3][0], ADAPTERS[3][0]])) for number in (0, 2, 4)]
    adapters += [(number, _bytes_of(SAVED[number % 3])) for number in (1, 3, 5)]
    runs = [(number, m.json_files(lines)) for number, lines in enumerate(_run_files().values())]
    checkpoints = [
        (number, _bytes_of(content)) for number, (_, content) in enumerate(sorted(_checkpoint_files().items()))
    ]
    mark = {"seconds": 1.0, "files": {"model.safetensors": "0" * 16}, "stage": "Train"}
    made = {
        "task rows": Target(_task_rows, m.line_files(ROWS), 2),
        "CSV and TSV": Target(_table, _bytes_of(*csv)),
        "ShareGPT and calls": Target(task_files.streamed("jsonl"), m.line_files(task_files.SHAREGPT), 1),
        "dialogues and schemas": Target(task_files.dialogues, task_files.dialogue_inputs, 1),
        "grids of languages": Target(task_files.grid, m.yaml_files([task_files.GRID]), 0.5),
        "streamed rows": Target(task_files.streamed("jsonl"), m.line_files(ROWS), 1),
        "streamed tables": Target(task_files.streamed("csv"), _bytes_of(*csv), 1),
        "task.yaml": Target(_task_yaml, m.yaml_files([TASK]), 1.5),
        "templates": Target(_template, _templates, 2),
        "chat templates": Target(_chat_template, _chats, 0.5),
        "config.yaml": Target(_config, m.yaml_files([CONFIG]), 0.5),
        "study plans": Target(_plan, m.yaml_files([PLAN]), 0.5),
        "policies": Target(_policy, m.yaml_files([POLICY]), 1.5),
        "--set": Target(_assignment, _bytes_of(*(text.encode() for text in ASSIGNMENTS)), 1),
        "adapters": Target(_adapter, _several(*adapters), 1),
        "safetensors": Target(_weights, m.mixture(_bytes_of(*SAVED), lambda draw: _header(m.plain_data(draw, [header]))), 2),
        "weight indexes": Target(_index, m.json_files([index]), 2),
        "tokenizers": Target(_tokenizer, _several(*tokenizers), 0.02),
        "run folders": Target(_run_folder, _several(*runs), 0.1),
        "study.jsonl": Target(_study, m.line_files(STUDY), 1),
        "done.json": Target(_mark, m.json_files([mark]), 1),
        "prompt lines": Target(_prompts, m.line_files([{"prompt": "a"}, {"input": "b"}]), 1.5),
        "server replies": Target(_reply, _several(*((n, m.json_files([CHAT_REPLY if n == 1 else REPLY])) for n in range(4))), 1),
        "checkpoints": Target(_checkpoint, _several(*checkpoints), 0.5),
    }  # fmt: skip
    with contextlib.suppress(ImportError):
        made["GGUF"] = Target(_gguf, _bytes_of(_gguf_seed()), 1)
    return made
