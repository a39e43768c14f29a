"""The command that opens the playground."""

from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli import options
from holdfast.models import hub
from holdfast.tasks import sources


def playground(
    model: Annotated[str, typer.Argument(help="Folder of a run; with --against any model.")],
    against: Annotated[
        list[str] | None, typer.Option(help="Another model, whose answers stand beside; repeat it.", metavar="MODEL")
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(help="With --against: a task with demonstrations and examples; repeat it.", metavar="TASK"),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Default: the first free one from 7860 on.")
    ] = None,
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    trust_remote_code: options.Trust = False,
    trust_code: options.TrustCode = False,
) -> None:
    """Ask base and tuned model, or any two, the same, side by side on a local web page."""
    if task and not against:
        raise ValueError("--task: a run has its own tasks; with --against MODEL any are offered")
    # Before torch is imported, as in all commands: what is not there.
    if against:
        hub.check_named([model, *against])
        sources.check_named(task or ())
    elif not Path(model).is_dir():
        raise ValueError(
            f"{model}: no run of `holdfast tune`; to ask any two models, name the second with --against MODEL"
        )
    from holdfast.playground.bench import compared, opened
    from holdfast.playground.page import serve  # Raises where Gradio is not installed, so before any model is loaded.

    bench = (
        compared([model, *against], task or (), dtype=dtype, device=device, trust_remote_code=trust_remote_code)
        if against
        else opened(model, dtype=dtype, device=device, trust_remote_code=trust_remote_code, trust_code=trust_code)
    )
    serve(bench, host=host, port=port)
