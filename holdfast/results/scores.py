"""Score: one number with all its circumstances. `scores.jsonl` and `outputs.jsonl` are all that a report reads."""

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BeforeValidator

from holdfast.atomic_files import whole
from holdfast.results.record_lines import read_objects, to_record

RecordType = TypeVar("RecordType")
AGAIN = "run `holdfast evaluate` again"

# Records of older versions call "unclear" another name.
OLDER_WORD = BeforeValidator(lambda word: "unclear" if word == "not resolvable" else word)
Verdict = Annotated[Literal["gained", "kept", "lost", "unclear"], OLDER_WORD]
# The purpose of a task: to learn it, to see whether it is kept, or to see whether what was lost is only hidden (a task in disguise, a
# probe). Diagnostics stand beside the general tasks and count in none of their means, families of tests or signs of collapse.
Role = Literal["target", "general", "diagnostic"]
ROLES: tuple[Role, ...] = get_args(Role)
# The trained prompt was attached or removed, there never was one, or another stood there that looks for what is hidden (a probe).
PromptState = Literal["on", "off", "probe"] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """Everything beside the answers that a number depends on; empty where it is not known.

    The runner fills in the model, its fingerprint, the recipe, the seed and the versions of the libraries; whoever asked the items wrote
    `split`, `template`, `demonstrations` and `decoding` into the outputs, from where they are copied. `dtype` is the precision that the
    weights were asked in (fp32, bf16, fp16, int8, int4), `device` where (cpu, cuda, mps).
    """

    model: str = ""
    model_hash: str = ""
    recipe: str = ""
    seed: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    task_version: str = ""
    split: str = "test"
    template: str = ""
    demonstrations: str = ""
    decoding: str = ""
    dtype: str = ""
    device: str = ""


@dataclass(frozen=True, slots=True)
class Score(Circumstances):
    """One number in its circumstances: everything that must be known to read or repeat it.

    `value` with its interval `[low, high]` (95 %) and standard error is in the metric's own unit (accuracy and the like: 0 to 1; BLEU,
    chrF, ROUGE: 0 to 100). `delta`, with its paired interval, is this value minus the base model's on the same items; it is None for
    the base itself. `prompt` says whether the soft prompt was attached ("on"), removed ("off"), or never
    existed (None); "probe" is another prompt in its stead, which looks for what is hidden.

    `step` is None for the weights that the run keeps. Scores along the way carry the step of the last stage that the weights were
    taken at; step 0 is the model before that stage, so with the prompt attached it is what stage 1 reached alone.

    `p` is the two-sided probability of such a change by chance (McNemar's exact test, or randomisation), not corrected for the
    number of tasks; `verdict` is corrected, and where it is "unclear", about `needed` items would tell. `again`
    is the base's value measured a second time, with other demonstrations and in other batches: the noise floor. `transfer`, with
    its paired interval, is this value minus that right after the stage that trained on the task, where later stages moved the
    model on: the task's part in BWT. `chance` is
    what guessing among the choices would give, as a share of the scale; `truncated` counts the items whose input had to be
    cut to fit the model; `signature` says exactly what the metric computed. Where the items were asked behind several `sets` of
    demonstrations, the value is of the first, and `over_sets` the standard deviation between them: apart from the interval, which is
    about items. `covariances` are the sampling covariances of this value with those of the same task on the same items: of the base and,
    for a tuned score, of the tuned model in the same state, by `answered` ("base 0", "tuned 1": variant and shots). The interval of a
    mean over shots and that of the retention follow from them; records of older versions have none.
    """

    variant: Literal["base", "tuned"]
    prompt: PromptState
    task: str
    role: Role
    shots: int
    metric: str
    value: float
    low: float
    high: float
    n: int
    stderr: float = 0.0
    delta: float | None = None
    delta_low: float | None = None
    delta_high: float | None = None
    p: float | None = None
    verdict: Verdict | None = None
    needed: int | None = None
    again: float | None = None
    transfer: float | None = None
    transfer_low: float | None = None
    transfer_high: float | None = None
    chance: float = 0.0
    truncated: int = 0
    signature: str = ""
    outputs: str = "outputs.jsonl"
    step: int | None = None
    sets: int = 1
    over_sets: float | None = None
    covariances: dict[str, float] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str | int | None, ...]:
        """Return the fields that identify this score among all of a run; the step only where there is one."""
        key = (self.variant, self.prompt, self.task, self.shots, self.metric)
        # The order is relied upon: `judge` finds the noise floor of a score by the part that follows variant and prompt.
        return key if self.step is None else (*key, self.step)

    @property
    def answered(self) -> str:
        """Return variant and shots: the key of this score in the `covariances` of others of its task."""
        return f"{self.variant} {self.shots}"


@dataclass(frozen=True, slots=True)
class Output:
    """One item as it was asked and answered: the line of `outputs.jsonl` behind a score.

    `scores` holds the item's own value per metric (absent for metrics that exist only over a corpus); `logprobs` the
    log-likelihood of each choice, where choices were ranked, and `prior` that of each without the question's content, as a share of
    all of them, where that was asked too. `output` is the chosen or generated answer; `generated` is what
    the model wrote of its own accord, where choices were ranked and that was asked for too. `demonstrations` and `decoding` say in
    words which examples stood before the question and how the answer was found; empty in records of versions that did not write them.
    `checks` are what a program checks of this item's answer, by the metric `checked`.
    """

    variant: str
    prompt: str | None
    task: str
    role: str
    shots: int
    index: int
    input: str
    target: str
    output: str
    answers: tuple[str, ...] = ()
    choices: tuple[str, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    scores: dict[str, float] = field(default_factory=dict)
    generated: str | None = None
    truncated: bool = False
    step: int | None = None
    demonstrations: str = ""
    decoding: str = ""
    checks: tuple[str, ...] = ()
    prior: tuple[float, ...] | None = None

    @property
    def shown(self) -> str:
        """Return the answer as a reader sees it; of a target that was read and not answered, what a byte of it costs."""
        if self.choices is not None or not self.logprobs:
            return self.output
        return f"{-self.logprobs[0] / math.log(2) / max(1, len(self.target.encode(errors='surrogatepass'))):.3g} bits a byte"


_OUTPUT = [f.name for f in fields(Output)]


def write_jsonl(path: Path, records: Iterable[Any]) -> None:
    """Write dataclass records one a line; the file appears whole or not at all."""
    with whole(path) as part, part.open("w", encoding="utf-8") as file:
        for record in records:
            # `asdict` copies every value, which takes longer than writing them.
            values = {name: getattr(record, name) for name in _OUTPUT} if type(record) is Output else asdict(record)
            file.write(json.dumps(values, ensure_ascii=False) + "\n")
        # To the disk before the file is renamed: after a crash its name must not lead to an empty file.
        file.flush()
        os.fsync(file.fileno())


def read_scores(path: Path) -> list[Score]:
    """Return the scores of a run; `path` is `scores.jsonl` or the run's folder.

    Raises:
        ValueError: there is no such file, or a line is no score; with file, line and field.
    """
    return _read(Score, path, "scores.jsonl")


class StoredOutputs(Iterable[Output]):
    """Answers in files, read anew each time that they are gone through and one at a time: a million take no more memory than one.

    Raises:
        ValueError: on the way, as `read_outputs`.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __iter__(self) -> Iterator[Output]:
        for path in self.paths:
            for line in read_objects(path, AGAIN):
                yield to_record(Output, line, AGAIN)


class StreamedOutputs(Iterable[Output]):
    """Answers that are made anew each time that they are gone through, one at a time."""

    def __init__(self, make: Callable[[], Iterator[Output]]) -> None:
        self.make = make

    def __iter__(self) -> Iterator[Output]:
        return self.make()


def read_outputs(path: Path) -> list[Output]:
    """Return the items that the scores are made of; `path` is `outputs.jsonl` or the run's folder.

    Raises:
        ValueError: there is no such file, or a line is no output; with file, line and field.
    """
    return _read(Output, path, "outputs.jsonl")


def some_outputs(path: Path, most: int) -> tuple[list[Output], int]:
    """Return the answers of a file, at most about `most` of them, and the number of those left out.

    Of many, they are those of every so-manieth item, of all models alike.

    Raises:
        ValueError: a line is no output; with file, line and field.
    """
    with path.open("rb") as file:
        count = sum(1 for _ in file)
    every = max(1, -(-count // most))
    lines = (line for line in read_objects(path, AGAIN) if every == 1 or _index(line.values) % every == 0)
    outputs = [to_record(Output, line, AGAIN) for line in lines]
    return outputs, count - len(outputs) if every > 1 else 0


def _index(values: Mapping[str, Any]) -> int:
    index = values.get("index")
    # Kept where it is none, so that the reader of the whole line says what is wrong.
    return index if isinstance(index, int) else 0


def _read(record_type: type[RecordType], path: Path, name: str) -> list[RecordType]:
    path = path / name if path.is_dir() else path
    if not path.exists():
        raise ValueError(f"{path}: there is no such file; is this the folder of a finished run?")
    return [to_record(record_type, line, AGAIN) for line in read_objects(path, AGAIN)]
