"""Log of a training stage: log.jsonl, a progress bar on stderr, trackers."""

import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from holdfast.atomic_files import write_text
from holdfast.training.look import Unit
from holdfast.training.settings import TrainSettings

USUAL = frozenset({"loss", "learning_rate", "gradient_norm", "target_tokens", "tokens_per_second"})  # of a step


class Log:
    """One line of log.jsonl a step; on a terminal a bar with loss, target tokens a second and the time that is left."""

    def __init__(
        self, path: Path, stage: str, settings: TrainSettings, accelerator: Accelerator, *, quiet: bool = False
    ) -> None:
        self.path, self.stage, self.settings, self.accelerator = path, stage, settings, accelerator
        self.main = accelerator.is_main_process
        # The loss of the first step that this process takes; smoothed, each step counting 0.9 of the next; and the steps' weights together.
        self.opening, self.smooth, self.weight = math.nan, 0.0, 0.0
        self.best = ""
        self.began, self.first = 0.0, 0  # the time of the first step that this process takes, and the steps before it
        console = Console(file=sys.stderr)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}", markup=False),
        )
        shown = self.main and not quiet and console.is_terminal
        self.bar = Progress(*columns, TimeRemainingColumn(), console=console, disable=not shown, transient=False)
        self.plain = self.main and not quiet and not shown
        self.id = self.bar.add_task(stage, total=settings.steps, text="")

    def start(self, step: int) -> None:
        """Begin after `step` steps: lines of later steps, which a resumed run takes again, are dropped."""
        if self.main:
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True) if self.path.exists() else []
            kept = [line for line in lines if self._stays(line, step)]
            write_text(self.path, "".join(kept))
        if self.settings.trackers:
            self.accelerator.init_trackers("holdfast", config=vars(self.settings))
        self.bar.start()
        self.bar.update(self.id, completed=step)
        self.began, self.first = time.monotonic(), step
        # Before the first step, which may take minutes: silence would look like a hang.
        if self.plain and step < self.settings.steps:
            print(f"{self.stage}: training begins, {self.settings.steps - step} steps", file=sys.stderr, flush=True)

    def _stays(self, line: str, step: int) -> bool:
        """Return whether a line is of a step that was taken, and will not be written once more."""
        try:
            record = json.loads(line) if line.endswith("\n") else {}  # A line without its end was cut by a kill.
        except ValueError:
            return False
        # What a stage says at its end, of rows and of the weights that it kept, has no loss, and a stage that resumes says it again.
        measured = "loss" in record or "validation" in record
        return measured and isinstance(record.get("step"), int) and record["step"] <= step

    def step(self, step: int, **record: Any) -> None:
        """Record a step that was taken."""
        self._write({"stage": self.stage, "step": step, **record})
        # Smoothed for the eye alone, since the loss of one batch jumps; the file has the exact loss.
        if math.isnan(self.opening):
            self.opening = record["loss"]
        # By the weights so far: begun at the first loss, a mean of a few steps would be that loss for the most part.
        self.weight = 0.9 * self.weight + 1
        self.smooth += (record["loss"] - self.smooth) / self.weight
        figures = "".join(f"  {name} {value:.3g}" for name, value in record.items() if name not in USUAL)
        text = f"loss {self.smooth:.3f}  {record['tokens_per_second']:.0f} answer tokens/s{figures}{self.best}"
        self.bar.update(self.id, completed=step, text=text)
        if self.plain and (step % max(1, self.settings.steps // 10) == 0 or step == self.settings.steps):
            print(
                f"{self.stage}: step {step}/{self.settings.steps}  {text}{self._left(step)}",
                file=sys.stderr,
                flush=True,
            )
        # Twice as high and by half a nat: losses of rewards and pairs move around 0.
        if step == self.settings.steps and self.smooth > max(2 * self.opening, self.opening + 0.5):
            setting = f"{self.stage.partition('-')[0]}.learning_rate"
            self.note(
                f"the loss rose from {self.opening:.3g} to {self.smooth:.3g}: training diverged; try a smaller {setting} "
                f"(it was {self.settings.learning_rate:g})"
            )

    def _left(self, step: int) -> str:
        """Return the time that the steps to come will take, as those so far did, looks included; nothing after the last."""
        seconds = (time.monotonic() - self.began) / (step - self.first) * (self.settings.steps - step)
        if step == self.settings.steps:
            return ""
        return f"  about {max(1, round(seconds))} s left" if seconds < 90 else f"  about {round(seconds / 60)} min left"

    def validation(self, step: int, value: float, unit: Unit, retention: float | None = None) -> None:
        """Record a value of the target's validation metric, and the share that is kept on general tasks where that was measured."""
        # The file has the metric's own unit, which is that of `stop_at`; a person reads points of 100, as everywhere.
        self.best = f"  validation {value * unit.points:.1f}" + (
            "" if retention is None else f"  keeps {100 * retention:.0f} %"
        )
        kept = {} if retention is None else {"retention": retention}
        self._write({"stage": self.stage, "step": step, "validation": value, "metric": unit.metric} | kept)

    def note(self, text: str) -> None:
        """Print a line beside the bar, which goes on."""
        if not self.bar.disable:
            # By the bar's console: a plain print would tear the bar.
            self.bar.console.print(f"{self.stage}: {text}", markup=False, highlight=False)
        elif self.plain:
            print(f"{self.stage}: {text}", file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """Stop the bar and print a line, unless the log is quiet."""
        self.bar.stop()
        if self.bar.disable and not self.plain:
            return
        print(f"{self.stage}: {text}", file=sys.stderr, flush=True)

    def _write(self, record: dict[str, Any]) -> None:
        if self.main:
            append(self.path, record)
        if self.settings.trackers:
            self.accelerator.log({k: v for k, v in record.items() if isinstance(v, float)}, step=record["step"])

    def close(self) -> None:
        """Stop the bar and the trackers."""
        self.bar.stop()
        if self.settings.trackers:
            self.accelerator.end_training()


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Add a line to log.jsonl."""
    with path.open("a", encoding="utf-8") as file:
        # NaN is no JSON; the loop refuses such a loss before it gets here.
        file.write(json.dumps(record, allow_nan=False) + "\n")
