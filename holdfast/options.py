"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[str, typer.Argument(help="A model folder, a hub id, or 'lab'.")]
Out = Annotated[Path | None, typer.Option(help="Folder of the results.")]
Shots = Annotated[str, typer.Option(help="Numbers of demonstrations, such as 0,1,4.")]
General = Annotated[list[str] | None, typer.Option(help="A task whose ability should be kept; repeat it.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Any field of any stage: prompt.steps=200.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most this many test items of each task.")]
Seed = Annotated[int, typer.Option(help="Seed of data order, initial values and sampling.")]
Json = Annotated[bool, typer.Option("--json", help="Print records, one JSON object a line.")]
Overwrite = Annotated[bool, typer.Option(help="Replace a run of another configuration in the same folder.")]
Trust = Annotated[bool, typer.Option("--trust-remote-code", help="Let code that comes with a hub model run.")]
Prompt = Annotated[
    str | None, typer.Option(help="Folder of a soft prompt to attach; of a run: on, off, or a target's name.")
]
