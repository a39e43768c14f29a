"""Analyse a finished run: the Python name behind `holdfast evaluate RUN --analyse NAME`."""

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from holdfast.api.load import load
from holdfast.atomic_files import write_text
from holdfast.models import resolve
from holdfast.plugins import refuse_code
from holdfast.results.run_folder import RunFolder
from holdfast.stages import analyse
from holdfast.tasks import sources


def analyse_run(
    run: str,
    analyses: Sequence[str],
    tasks: Sequence[str] = (),
    *,
    shots: int = 0,
    limit: int | None = None,
    out: str | Path | None = None,
    dtype: str = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
    trust_code: bool = False,
) -> list[Mapping[str, Any]]:
    """Return findings about the weights that a finished run keeps, as `analysis.jsonl` has them: why it gained and lost what it did.

    `tasks` are general tasks to ask; by default those of the run. With `out`, they are written into that folder.

    Raises:
        ValueError: this is not a run's folder, or an analysis is unknown or needs what only training has.
    """
    folder = Path(run)
    layout = RunFolder(folder)
    if not layout.is_run:
        raise ValueError(
            f"{run}: not the folder of a run; --analyse compares a run's weights with those it started from"
        )
    config, targets = layout.config, layout.targets
    refuse_code([targets, [] if tasks else config["general"]], layout.config_file, trust_code=trust_code)
    # A target is not asked against itself.
    named = chain.from_iterable(map(sources.expand, tasks)) if tasks else _general(config)
    general = [name for name in named if name not in targets]
    # Without the prompt: an analysis attaches it where it compares both.
    tuned = load(run, prompt="off", dtype=dtype, device=device, trust_remote_code=trust_remote_code).pretrained
    base = resolve.load(
        config["model"], loading=tuned.loading, trust_remote_code=trust_remote_code, date=config.get("date")
    )
    records = analyse.run_analyses(folder, tuned, base, targets[0], general, analyses, limit=limit, shots=shots)
    if out is not None:
        write_text(RunFolder(Path(out)).analysis_file, "".join(json.dumps(record) + "\n" for record in records))
    return records


def _general(config: Mapping[str, Any]) -> list[str]:
    """Return the general tasks of a run, without its diagnostics."""
    return sources.without_diagnostics(config["general"])
