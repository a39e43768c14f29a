"""The commands for a finished run: its report, a hub, the playground."""

from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli.options import Trust, TrustCode


def report(run: Annotated[Path, typer.Argument(help="Folder of a run.")]) -> None:
    """Rebuild the page and the model card from scores.jsonl, or a study's page from study.jsonl."""
    from holdfast.models.architecture import of_run
    from holdfast.report.card import write_card
    from holdfast.report.run.page import write_page
    from holdfast.report.study.study_page import write_study_page

    # A study's folder has no scores of its own; those are in the folders of its runs.
    if (run / "study.jsonl").exists():
        print(write_study_page(run))
        return
    print(write_page(run))
    print(write_card(run, of_run(run)))


def push(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    repo: Annotated[str, typer.Argument(help="Where to on the hub: OWNER/NAME.")],
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public; private otherwise.")] = False,
    with_report: Annotated[
        bool, typer.Option("--with-report", help="The page too, which shows items of your data.")
    ] = False,
) -> None:
    """Upload a run's weights, model card and scores to the Hugging Face hub."""
    from holdfast.api.push import push as upload

    print(upload(run, repo, public=public, report=with_report))


def playground(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Default: the first free one from 7860 on.")
    ] = None,
    trust_remote_code: Trust = False,
    trust_code: TrustCode = False,
) -> None:
    """Ask the base and the tuned model the same, side by side on a local web page."""
    from holdfast.playground.bench import opened
    from holdfast.playground.page import serve  # Raises where Gradio is not installed, so before any model is loaded.

    serve(opened(run, trust_remote_code=trust_remote_code, trust_code=trust_code), host=host, port=port)
