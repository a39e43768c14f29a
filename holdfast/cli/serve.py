"""The command `serve`: what a run left, by the OpenAI protocol."""

from typing import Annotated

import typer

from holdfast.cli import options
from holdfast.cli.options import Prompt, Trust


def serve(
    model: Annotated[
        str,
        typer.Argument(
            help="Folder of a run; or a MODEL: a folder, a hub id, a .gguf file, an adapter, 'lab'.",
            callback=options.named_models,
        ),
    ],
    prompt: Prompt = None,
    base: options.Base = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 8000,
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    trust_remote_code: Trust = False,
) -> None:
    """Serve a run, or a model, by the OpenAI protocol: the prompt is attached where a request names the target as its model."""
    from holdfast.serving import run as serving

    serving.check_packages()
    listening = serving.bound(host, port)  # Before the model, which takes longer.
    from holdfast.serving.roster import roster_of

    roster = roster_of(
        model, prompt, base=base, dtype=dtype, device=device, trust_remote_code=trust_remote_code
    )  # fmt: skip
    serving.serve(roster, listening)
