"""The command that makes the pages of finished numbers again, and lists the items that moved."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from holdfast.cli import output
from holdfast.cli.options import Json

Moved = Literal["lost", "gained", "wrong", "all"]


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    moved: Annotated[
        Moved | None,
        typer.Option(
            help="List the items that were lost, or gained, or that both models get wrong in another way, with both answers."
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Rebuild a run's page and card, or a study's page; --moved: the items that changed; --json: what a run came to."""
    from holdfast.models.architecture import of_run
    from holdfast.report.card import write_card
    from holdfast.report.run.page import write_page
    from holdfast.report.run.record import run_record
    from holdfast.report.study.study_page import write_study_page

    # A study's folder has no scores of its own; those are in the folders of its runs.
    if (run / "study.jsonl").exists():
        if json_ or moved:
            raise ValueError(
                f"{run}: is a study, whose records are the lines of {run / 'study.jsonl'}; leave out {'--moved' if moved else '--json'}"
            )
        print(write_study_page(run))
        return
    if moved:
        _items(run, moved, json_)
    elif json_:
        output.lines([asdict(run_record(run))])
    else:
        print(write_page(run))
        print(write_card(run, of_run(run)))


def _items(run: Path, moved: Moved, json_: bool) -> None:
    """Print every item that moved so, lost ones and the worst task first, as JSON or with an answer a line."""
    from holdfast.results.flips import Flip, of_folder

    flips = of_folder(run)
    items: Sequence[Flip] = flips.items
    if moved != "all":
        items = flips.of("both wrong" if moved == "wrong" else moved)
    if json_:
        output.lines(asdict(flip) for flip in items)
        return
    for flip in items:
        print(output.fill(f"{flip.direction}: {flip.task}, item {flip.index}, {flip.shots}-shot"))
        # Of a long question the end says what was asked; of an answer the beginning is it.
        print(_line("question", flip.input, end=True))
        for name, text in (("expected", flip.target), ("base", flip.base), ("tuned", flip.tuned)):
            print(_line(name, text))
        print()
    counts = ", ".join(f"{count} {direction}" for direction, count in flips.total.items())
    print(
        output.fill(
            f"{len(items)} listed. Items moved: {counts}, of {sum(flips.compared.values())}; each number of shots counts."
        )
    )


def _line(name: str, text: str, end: bool = False) -> str:
    """Return a name and a text in one line of the terminal; a text that is too long is cut."""
    from holdfast.results.visible import visible

    start, width = f"  {name:<8}  ", shutil.get_terminal_size((output.WIDTH, 24)).columns
    room = max(20, width - len(start))
    words = " ".join(visible(text).split()) or "(nothing)"
    if len(words) > room:
        words = f"… {words[2 - room :]}" if end else f"{words[: room - 2]} …"
    return start + words
