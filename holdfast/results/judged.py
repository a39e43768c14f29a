"""The records of a judge: its decisions on pairs of answers, and what they come to, `judge.json` in the folder of two compared models."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from holdfast.atomic_files import write_text
from holdfast.results.evidence import Fingerprint
from holdfast.results.record_lines import read_objects, to_record
from holdfast.results.run_folder import RunFolder
from holdfast.results.scores import Role
from holdfast.results.statistics_judge import JudgeQuality, Preferences, WinRate, longer

ALL = "all"  # in the place of a task's name: all tasks of a role
# The answer that was shown first, the one shown last, equally good, or a reply that says neither.
Choice = Literal["A", "B", "C", ""]
AGAIN = "give the command of the comparison again"
VALUE = {"A": -1.0, "B": 1.0, "C": 0.0, "": 0.0}


@dataclass(frozen=True, slots=True)
class JudgedPair:
    """Two answers to a question, and the choice of a judge: `forward` with `first` shown as A, `backward` with `second` shown as A.

    `fits` is False where the question was too long for the judge and was not asked.
    """

    question: str
    first: str
    second: str
    forward: Choice
    backward: Choice
    index: int = 0
    fits: bool = True
    truth: int = 0
    task: str = ""
    role: Role = "general"

    @property
    def same(self) -> bool:
        """Return whether both answers are one text, so that nobody need be asked which one is better."""
        return self.first.strip() == self.second.strip()

    @property
    def split(self) -> bool:
        """Return whether the choice was for the same place in both orders, and so for another answer."""
        return self.forward == self.backward and self.forward in ("A", "B")


@dataclass(frozen=True, slots=True)
class JudgedTask:
    """A task's win rate, or that of all tasks of a role ("all"): of `n` pairs `same` had one answer twice, and `unfit` were too long."""

    task: str
    role: Role
    n: int
    same: int
    unfit: int
    split: int  # pairs that were decided for one answer in one order and for the other in the other
    unread: int  # replies that said neither
    rate: WinRate


@dataclass(frozen=True, slots=True)
class JudgeRecord:
    """A judge, what it is worth, and what it says of two models. `answers` is the hash of the outputs that it saw."""

    judge: Fingerprint
    base: Fingerprint
    tuned: tuple[Fingerprint, ...]
    calibration: Fingerprint
    shots: int
    decided: str  # by log-probabilities, or by reading its replies
    quality: JudgeQuality
    tasks: tuple[JudgedTask, ...]
    answers: str

    @property
    def summaries(self) -> list[JudgedTask]:
        """Return the lines of all targets and of all general tasks, on which the verdicts stand."""
        return [task for task in self.tasks if task.task == ALL]


def preferences(pairs: Sequence[JudgedPair]) -> Preferences:
    """Return the decisions as numbers; pairs that did not fit are left out."""
    shown = [pair for pair in pairs if pair.fits]
    forward = np.array([VALUE[pair.forward] for pair in shown])
    backward = np.array([VALUE[pair.backward] for pair in shown])
    return Preferences(
        (forward - backward) / 2,
        (-forward - backward) / 2,
        np.array([float(longer(pair.first, pair.second)) for pair in shown]),
        np.array([float(pair.truth) for pair in shown]),
        np.array([float(pair.same) for pair in shown]),
    )


def read_judged_pairs(path: Path) -> list[JudgedPair]:
    """Return the pairs of a file of decisions.

    Raises:
        ValueError: a line is none; with file, line and field.
    """
    return [to_record(JudgedPair, line, AGAIN) for line in read_objects(path, AGAIN)]


def outputs_hash(folder: Path) -> str:
    """Return 16 hex digits of the answers in a folder."""
    return hashlib.sha256(RunFolder(folder).outputs_file.read_bytes()).hexdigest()[:16]


def write_judge(folder: Path, record: JudgeRecord) -> None:
    """Write `judge.json`."""
    write_text(RunFolder(folder).judge_file, json.dumps(asdict(record), indent=1, ensure_ascii=False))


def read_judge(folder: Path) -> JudgeRecord | None:
    """Return what a judge says of the models of a folder; None where none was asked.

    Raises:
        ValueError: the file is damaged, or the answers are others than those that the judge saw.
    """
    path = RunFolder(folder).judge_file
    if not path.exists():
        return None
    try:
        record = TypeAdapter(JudgeRecord).validate_json(path.read_bytes())
    except ValidationError:
        raise ValueError(f"{path}: is not what a judge left; {AGAIN}") from None
    if not RunFolder(folder).outputs_file.exists() or record.answers != outputs_hash(folder):
        raise ValueError(f"{path}: the judge saw other answers than outputs.jsonl has now; {AGAIN}")
    return record
