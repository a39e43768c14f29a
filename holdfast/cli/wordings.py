"""The command that ranks wordings of a question before training."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from holdfast.cli import options, output
from holdfast.results.visible import one_line
from holdfast.tasks import sources


def wordings(
    model: options.Model,
    task: Annotated[str, typer.Argument(help="The task to tune on.")],
    input_: Annotated[
        list[str] | None, typer.Option("--input", help="Another question, in Jinja as in task.yaml; repeat it.")
    ] = None,
    instruction: Annotated[list[str] | None, typer.Option(help="Another instruction before it; repeat it.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Training examples that the loss is the mean of.")] = 64,
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    trust_remote_code: options.Trust = False,
    json_: options.Json = False,
) -> None:
    """Rank wordings of the question before training: the likelier the answers, the less will be forgotten."""
    sources.check_named([task])  # Before torch is imported.
    from holdfast.api.wordings import wordings as rank

    ranked = rank(
        model, task, input_ or (), instruction or (), rows=rows, dtype=dtype, device=device,
        trust_remote_code=trust_remote_code,
    )  # fmt: skip
    if json_:
        output.lines(asdict(wording) for wording in ranked)
        return
    print(f"{'loss':>6}  wording (nats a token of the answer, before any training; * is the task's own)")
    for wording in ranked:
        text = one_line(" | ".join(filter(None, (wording.instruction, wording.input))))
        print(f"{wording.loss:6.2f} {'*' if wording.is_own else ' '}{text}")
    if not ranked[0].is_own:
        print("\nTo train with the first, write into the task's task.yaml:")
        for key in ("instruction", "input"):  # A text of JSON is one of YAML, on one line.
            print(f"{key}: {json.dumps(getattr(ranked[0], key), ensure_ascii=False)}")
