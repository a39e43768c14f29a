"""Report of this machine's abilities, of the settings with which a given model runs on it, and of the memory that it would take."""

import os
import platform
import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli import options, output

if TYPE_CHECKING:
    from holdfast.api.plan_memory import PlannedMemory
    from holdfast.models.precision import Loading

GIB = 2**30
MARK = {True: "+", False: "*"}
PlannedRows = Annotated[int, typer.Option("--rows", min=1, help="With --plan: rows that pass the model at once.")]
PlannedTokens = Annotated[
    int, typer.Option("--tokens", min=2, help="With --plan: tokens of a row, its answer included.")
]
PlannedAnswer = Annotated[
    int, typer.Option("--answer", min=1, help="With --plan: tokens of an answer, which are predicted.")
]
PlannedPrompt = Annotated[int, typer.Option("--prompt-length", min=1, help="With --plan: vectors of the soft prompt.")]


def doctor(
    model: Annotated[
        str | None, typer.Argument(help="A model to look at as well.", callback=options.named_models)
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print the memory of each method in each precision; no weights are loaded.")
    ] = False,
    rows: PlannedRows = 16,
    tokens: PlannedTokens = 128,
    answer: PlannedAnswer = 16,
    prompt_length: PlannedPrompt = 50,
    checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="With --plan: layers are computed twice and keep less.")
    ] = False,
    memory: Annotated[
        float | None,
        typer.Option(
            min=0.1, help="With --plan: GB of another machine or GPU; what fits is marked. Default: what is free here."
        ),
    ] = None,
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    trust_remote_code: options.Trust = False,
    json_: options.Json = False,
) -> None:
    """Show what this machine, and a model on it, can do; with --plan, what fits into memory."""
    from holdfast.models.precision import Loading

    if memory is not None and not plan:
        raise ValueError("--memory: says into what --plan should fit; give --plan too")
    if plan:
        if model is None:
            raise ValueError("--plan: name a model; its configuration is read, and no weights")
        from holdfast.api.plan_memory import plan_memory

        planned = plan_memory(
            model, rows=rows, tokens=tokens, answer=answer, prompt_length=prompt_length, gradient_checkpointing=checkpointing,
            memory=memory, trust_remote_code=trust_remote_code,
        )  # fmt: skip
        if json_:
            pick = planned.pick
            output.lines(
                need.record() | {"model": model, "fits": planned.fits(need), "recommended": need is pick}
                for need in planned.needs
            )
        else:
            _show_memory(planned, model)
        return
    facts = examine(model, Loading(dtype, device), trust_remote_code=trust_remote_code)
    if json_:
        output.lines([facts])
    else:
        output.facts(facts)


def examine(
    model: str | None = None, loading: "Loading | None" = None, *, trust_remote_code: bool = False
) -> dict[str, Any]:
    """Return facts about the machine and, where one is given, the model: how its prefixes are computed, and the limits of its positions."""
    import torch  # here and below: `--help` need not wait for it

    from holdfast.api.versions import library_versions
    from holdfast.models.precision import AUTO

    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "processor": f"{os.cpu_count()} cores, {torch.get_num_threads()} threads for torch",
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        **library_versions(),
    }
    if model is None:
        return facts
    from holdfast.models import describe, resolve
    from holdfast.prefix.capability import capability, takes_vectors

    pretrained = resolve.load(model, loading=loading or AUTO, trust_remote_code=trust_remote_code)
    can, architecture = capability(pretrained.model), pretrained.architecture
    packing = "packed" if architecture.one_sequence else "each input encoded once, side by side"
    count = sum(p.numel() for p in pretrained.model.parameters())
    return facts | {
        "model": model,
        "parameters": count,
        "weights hash": pretrained.hash,
        "kind": architecture.description,
        "precision": f"{pretrained.loading.dtype} on {pretrained.loading.device}",
        "positions": pretrained.max_length,
        "sliding window": describe.window(pretrained.model),
        "attention": pretrained.model.config._attn_implementation,
        "prefix core": f"{packing if can.packed else 'reference: slower, same results'} ({can.why})",
        "soft prompts": "yes"
        if takes_vectors(pretrained.model)
        else "none: the model takes tokens only; use full or lora",
        "chat template": bool(pretrained.tokenizer.chat_template),
    }


def _show_memory(planned: "PlannedMemory", model: str) -> None:
    """Print a line for each method, with the memory in each precision."""
    from holdfast.api.plan_memory import PREFERRED
    from holdfast.report.console import plain_table

    by_method = planned.by_method
    table = plain_table(gap=2)
    table.add_column("GiB")
    for need in next(iter(by_method.values())):
        table.add_column(need.precision, justify="right")
    for method, cells in by_method.items():
        table.add_row(
            method, *("-" if cell.refused else f"{cell.total / GIB:.2f}{MARK[planned.fits(cell)]}" for cell in cells)
        )
    output.show(table)
    batch = planned.batch
    checkpointing = ", layers computed twice" if batch.checkpointing else ""
    size = f"{planned.free / GIB:.1f} GiB"
    room = (
        f"the {size} that are free on {planned.device} now"
        if planned.device
        else f"{size}, leaving nothing for other programs"
    )
    meanings = (
        f"+ fits into {room}; * does not; - cannot be trained: fp16 loses small gradients, weights of int8 and int4 are whole numbers.",
        f"Peak of the whole process, computed from the configuration: {planned.parameters / 1e6:.4g} million parameters; {batch.rows} rows "
        f"of {batch.tokens} tokens at once, of which {batch.answer} are predicted; a prompt of {batch.prompt}{checkpointing}.",
    )
    print()
    for meaning in meanings:
        print(output.fill(meaning))
    # Last, where the eye is, and on a line of its own, to be copied.
    if pick := planned.pick:
        print(f"\nBegin with {pick.method} in {pick.precision} ({pick.total / GIB:.2f} GiB):")
        print(f"holdfast tune {shlex.quote(model)} TASK --method {pick.method} --dtype {pick.precision}")
        if pick.method != PREFERRED[0] and batch.rows > 1:
            print(
                output.fill(
                    f"{PREFERRED[0]} comes first where it fits, perhaps with fewer rows at once: --rows {batch.rows // 2}"
                )
            )
    else:
        least = planned.least
        text = f"No method fits; {least.method} in {least.precision} takes least, {least.total / GIB:.2f} GiB."
        print(
            f"\n{output.fill(f'{text} Take shorter rows (--tokens), fewer at once (--rows) or --gradient-checkpointing.')}"
        )
