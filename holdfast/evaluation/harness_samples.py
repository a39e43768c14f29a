"""Our items in the lm-evaluation-harness's sample format, so that whatever reads its `samples_*.jsonl` reads ours. No harness is needed.

What we do not record is null: whether a choice was also the greedy continuation, and a document's fields beyond those here.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

from holdfast.atomic_files import whole
from holdfast.results.scores import Output
from holdfast.tasks.task import Task

FOLDER = "samples"
LONGEST_NAME = 180  # bytes of a task's name: file systems take 255, and the rest of the file's name comes to them


def write_samples(folder: Path, outputs: Iterable[Output], tasks: Iterable[Task]) -> list[Path]:
    """Write `samples/MODEL/samples_TASK_K-shot.jsonl` into a run's folder, whole or not at all; return the paths.

    MODEL is `base`, `tuned`, `tuned-prompt-on` or `tuned-prompt-off`, as the harness has one folder for each model.
    """
    known = {task.name: task for task in tasks}
    with ExitStack() as stack:
        files: dict[Path, TextIO] = {}
        # As they come, because there may be a million; those of a cell come in the order of their items.
        for output in outputs:
            path = _path(folder, output.variant, output.prompt, output.task, output.shots)
            if path not in files:
                files[path] = stack.enter_context(stack.enter_context(whole(path)).open("w", encoding="utf-8"))
            for line in samples([output], known[output.task]):
                files[path].write(f"{json.dumps(line, ensure_ascii=False)}\n")
    return list(files)


@lru_cache
def _path(folder: Path, variant: str, prompt: str | None, task: str, shots: int) -> Path:
    model = variant + (f"-prompt-{prompt}" if prompt else "")
    # A task of the hub has slashes and colons in its name, which file systems read otherwise or refuse.
    name = re.sub(r"[^\w.-]+", "-", task)
    if len(name.encode()) > LONGEST_NAME:
        name = f"{name.encode()[:LONGEST_NAME].decode(errors='ignore')}-{_hash(task)[:8]}"
    return folder / FOLDER / model / f"samples_{name}_{shots}-shot.jsonl"


def samples(outputs: Iterable[Output], task: Task) -> Iterator[dict[str, Any]]:
    """Yield one harness sample for each item, with the keys of `lm_eval --log_samples` (0.4.13)."""
    for output in outputs:
        document = {"input": output.input, "target": output.target}
        if output.choices is not None:
            document |= {"choices": list(output.choices)}
        requests = list(_requests(output, task))
        answers = _answers(output)
        yield {
            "doc_id": output.index,
            "doc": document,
            "target": output.target,
            "arguments": {
                f"gen_args_{i}": {f"arg_{j}": part for j, part in enumerate(args)} for i, args in enumerate(requests)
            },
            "resps": [[answer] for answer in answers],
            "filtered_resps": answers,
            "filter": "none",
            "metrics": list(output.scores),
            "doc_hash": _hash(json.dumps(document, indent=2, ensure_ascii=False)),
            "prompt_hash": _hash(output.input),
            "target_hash": _hash(output.target),
            **output.scores,
        }


def _requests(output: Output, task: Task) -> Iterator[tuple[str, str | Mapping[str, Any]]]:
    """Yield (context, continuation) for each ranked choice, or (context, settings of generation)."""
    if output.logprobs is None:
        yield output.input, {"until": list(task.template.stop), "do_sample": False}
        return
    if output.choices is None:  # The target itself was read.
        yield output.input, output.target
    for choice in output.choices or ():
        yield output.input, task.template.delimiter + choice


def _answers(output: Output) -> list[Any]:
    """Return the generated text, or (log-likelihood, is greedy) of each choice; numbers as text, as the harness writes them."""
    if output.logprobs is None:
        return [output.output]
    return [[str(value), None] for value in output.logprobs]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
