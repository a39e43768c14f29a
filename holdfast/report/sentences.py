"""The verdict on a run in plain sentences, each a list of pieces, so that a page can mark the numbers in it."""

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from holdfast.results.scores import Score, Verdict
from holdfast.results.statistics import Estimate
from holdfast.results.summary import Shift, Summary, TaskResult
from holdfast.results.units import points

CARRIED = 10.0  # points of format share: less is not said to be carried to other tasks


class Number(NamedTuple):
    """A number inside a sentence: its text, and which summary it is."""

    text: str
    of: str


Piece = str | Number


def interval(estimate: Estimate) -> str:
    return f"[{points(estimate.low)}, {points(estimate.high)}]"


def verdict_on(summary: Summary) -> str:
    """All that is said about a run, as text."""
    return " ".join(plain(s) for s in [*headline(summary), collapse(summary), unresolved(summary)] if s)


def plain(sentence: list[Piece]) -> str:
    """A sentence as text."""
    return "".join(piece.text if isinstance(piece, Number) else piece for piece in sentence)


def lead(summary: Summary) -> list[Piece]:
    """The verdict in one sentence: what happened to the target, to how many of the general tasks, and how much of them is kept."""
    target = _target(summary, limits=False)
    end = target.pop()
    assert isinstance(end, str)
    return [*target, end.removesuffix("."), "; ", *_general_briefly(summary), *_collapse_briefly(summary), "."]


def collapse(summary: Summary) -> list[Piece]:
    """Return how the tuned task's format has spread to the general tasks, with the intervals of the rise; empty where it has not."""
    pieces: list[Piece] = []
    for shift in summary.collapsed:
        start, end = _shift_in_words(
            summary, shift, many="answers to general tasks", single="an answer to a general task"
        )
        limits: list[Piece] = [": ", Number(points(shift.change.value, True), "collapse"), " points "]
        limits += [Number(interval(shift.change), "collapse"), ")"]
        pieces += [" " if pieces else "", start[0].upper() + start[1:], Number(f"{points(shift.tuned)} %", "collapse")]
        pieces += [end, Number(f"{points(shift.base)} %", "collapse"), *limits, "."]
    return pieces


def _collapse_briefly(summary: Summary) -> list[Piece]:
    """The same without intervals, to stand at the end of the verdict."""
    pieces: list[Piece] = []
    for shift in summary.collapsed:
        start, end = _shift_in_words(summary, shift, many="their answers", single="an answer to them")
        pieces += [", and " if pieces else "; but ", start, Number(f"{points(shift.tuned)} %", "collapse")]
        pieces += [end, Number(f"{points(shift.base)} %", "collapse"), ")"]
    return pieces


def _shift_in_words(summary: Summary, shift: Shift, *, many: str, single: str) -> tuple[str, str]:
    """What stands before the tuned model's share, and between it and the base's."""
    targets = _names(summary.first_metric("target")) or "the tuned task"
    at = f"at {shift.shots} shot{'' if shift.shots == 1 else 's'} "
    if shift.metric == "first_token_mass":
        return f"{at}{single} begins as a label of {targets} with probability ", " (base "
    if shift.metric == "format_share":
        return at, f" of {many} are now labels of {targets} (base "
    return at, f" of {many} are now labels, empty, or did not stop (base "


def lost(summary: Summary) -> str:
    """Which general tasks were lost, at how many shots; empty where none was."""
    found = summary.words("general").get("lost", [])
    return f"Lost on {_list(found, most=8)}." if found else ""


def headline(summary: Summary) -> list[list[Piece]]:
    """One sentence on the target and one on the general tasks: what was gained, and what was lost."""
    return [_target(summary), _general(summary)]


def unresolved(summary: Summary) -> list[Piece]:
    """What the numbers of items leave open; empty where nothing is."""
    unclear = summary.words("general").get("not resolvable", [])
    return [f"Not resolvable at this n: {_list(unclear)}."] if unclear else []


def noise(summary: Summary) -> str:
    """How far the base itself moved when it was measured twice; empty where it was not."""
    if summary.noise is None:
        return ""
    size, line = summary.noise
    return (
        f"Measured twice, with other demonstrations, the base moved by up to {points(size)} points ({line.task}, {line.shots}-shot); a "
        "change that is smaller than its own task's movement is not called gained or lost."
    )


def older(summary: Summary) -> str:
    """Return what the intervals of means rest on where the records are of an older version; empty where they hold all that is needed."""
    if not summary.assumes_errors:
        return ""
    return (
        "These scores do not say how the errors of base and tuned model and of shots go together (an older version wrote them): the "
        "intervals of means over tasks take shots to err as one and read the rest from the intervals of the changes; measure again for "
        "exact ones."
    )


def first_stage(scores: Sequence[Score]) -> str:
    """What the prompt of stage 1 reached alone on the target, beside what the model tuned behind it does; empty where it is not known.

    Its score does not foretell what the run keeps (docs/studies/lab-first.md), but where it is as good, nothing needs to move.
    """
    alone, summary = Summary.of(scores, 0).target_value, Summary.of(scores)
    tuned = summary.target_value
    if alone is None or tuned is None:
        return ""
    names = _names(summary.first_metric("target"))
    said = f"The prompt of stage 1 alone scores {points(alone.value)} on {names}; the model tuned behind it "
    said += f"{points(tuned.value)} {interval(tuned)}"
    if alone.value >= tuned.value:
        return f"{said}: no better. `--method prompt_tuning` has that, and leaves the model as it is."
    if alone.value >= tuned.low:
        return f"{said}; whether that is better is not resolvable at this n. `--method prompt_tuning` would leave the model as it is."
    return f"{said}."


def transfer(summary: Summary) -> str:
    """How the earlier targets of a sequence fared under the later ones; empty where there was no sequence."""
    moved = summary.transfer
    if moved is None:
        return ""
    return (
        f"Backward transfer (BWT): {points(moved.value, True)} points {interval(moved)} on {earlier(summary)}, at the end of the "
        "sequence against right after the own stage."
    )


def earlier(summary: Summary) -> str:
    """The earlier targets of a sequence by their names; of many, how many there are."""
    names = list(dict.fromkeys(line.task for line in summary.sequence))
    return _names(summary.sequence) if len(names) < 3 else f"{len(names)} earlier targets"


class Located(NamedTuple):
    """General answers in the target's format, in points: of the base, of the base behind the prompt of stage 1 (`alone`), and of the tuned
    model with its prompt attached (`on`) and removed (`off`); means over tasks, all at `shots`.
    """

    base: float
    alone: float
    on: float
    off: float
    shots: int


def lives(scores: Sequence[Score]) -> Located | None:
    """Where the format lives; None where no earlier stage trained the prompt, or the general tasks were not asked behind it."""
    before = {(line.task, line.shots): line for line in Summary.of(scores, 0).symptom("format_share")}
    after = [line for line in Summary.of(scores).symptom("format_share") if (line.task, line.shots) in before]
    pairs = [(before[line.task, line.shots], line) for line in after]
    shares = [
        (100 * old.base.value, *(100 * found.value for found in (old.tuned["on"], new.tuned["on"], new.tuned["off"])))
        for old, new in pairs
        if old.base and "on" in old.tuned and {"on", "off"} <= new.tuned.keys()
    ]
    if not shares:
        return None
    base, alone, on, off = (fmean(column) for column in zip(*shares, strict=True))
    return Located(base, alone, on, off, after[0].shots)


def located(found: Located | None) -> str:
    """Whether the format of the tuned task lives in the prompt or in the model; empty where it cannot be said."""
    if found is None:
        return ""
    base, alone, on, off, shots = found
    if max(alone, on, off) - base < CARRIED:
        said = "neither the prompt nor the model carries the format to other tasks"
    elif off - base >= (max(alone, on) - base) / 2:
        said = "the format is in the model too, and taking the prompt off does not remove it"
    elif alone - base < CARRIED:
        said = "the format shows only where prompt and tuned model meet: the prompt alone does not carry it, and it comes off with it"
    else:
        said = "the format lives in the prompt and comes off with it"
    return (
        f"General tasks ({shots}-shot) answered in the tuned task's format: base {points(base)} %, base behind the prompt of "
        f"stage 1 {points(alone)} %; tuned, prompt attached, {points(on)} %, prompt removed {points(off)} %. So {said}. (The rule: less "
        f"than {CARRIED:.0f} points above the base is not carried; it comes off where less than half of it remains without the prompt.)"
    )


def _target(summary: Summary, limits: bool = True) -> list[Piece]:
    gain = summary.gain
    names = _names(summary.first_metric("target"))
    if gain is None:
        return [f"No change was measured on {names}."] if names else ["No target task was measured."]
    said = summary.gain_word
    after: list[Piece] = [" points", *([" ", Number(interval(gain), "gain")] if limits else [])]
    size: list[Piece] = [Number(points(abs(gain.value)), "gain"), *after]
    signed: list[Piece] = [Number(points(gain.value, True), "gain"), *after]
    if said == "gained":
        return ["Gained ", *size, f" on {names}."]
    if said == "lost":
        return ["Lost ", *size, f" on {names}, which it was tuned for."]
    if said == "kept":
        return [f"No gain on {names}: the change is ", *signed, "."]
    return [f"Whether anything was gained on {names} is not resolvable at this n: ", *signed, "."]


def _general(summary: Summary) -> list[Piece]:
    found = summary.words("general")
    count = len({line.task for group in found.values() for line in group})
    if not count:
        return ["No general task was compared, so nothing can be said about forgetting."]
    tasks: list[Piece] = [Number(str(count), "tasks"), " general task" + ("s" if count > 1 else "")]
    end = _losses(found, " of score" if summary.collapsed else "")
    if summary.retention is None:
        weak: list[Piece] = [" The share that was retained is not resolvable: the base is not above chance there."]
        return ["Compared on ", *tasks, *end, *weak]
    size, limits = f"{points(summary.retention.value)} %", interval(summary.retention)
    start: list[Piece] = ["Retained ", Number(size, "retention"), " ", Number(limits, "retention")]
    return [*start, " of the base's mean score on ", *tasks, *end]


def _general_briefly(summary: Summary) -> list[Piece]:
    """The same without intervals and names, to stand behind a semicolon."""
    found = summary.words("general")
    count = len({line.task for group in found.values() for line in group})
    lost, unclear = (len({line.task for line in found.get(word, [])}) for word in ("lost", "not resolvable"))
    if not count:
        return ["no general task was compared, so nothing can be said about forgetting"]
    tasks: list[Piece] = [Number(str(count), "tasks"), " general task" + ("s" if count > 1 else "")]
    kept: list[Piece] = []
    if summary.retention:
        size = Number(f"{points(summary.retention.value)} %", "retention")
        kept = [", where ", size, " of the base's mean score is kept"]
    if lost:
        return ["lost on ", Number(str(lost), "tasks"), " of ", *tasks, *kept]
    if not unclear:
        return ["no score was lost on " if summary.collapsed else "lost on none of ", *tasks, *kept]
    open_ones: list[Piece] = ["; on ", Number(str(unclear), "tasks"), " of them a loss cannot be excluded"]
    return [f"no loss{' of score' if summary.collapsed else ''} was found on ", *tasks, *kept, *open_ones]


def _losses(found: dict[Verdict, list[TaskResult]], of: str) -> list[Piece]:
    """The end of the sentence on general tasks: which were lost, or whether none was; `of` says by what, where that is not all."""
    if lost := found.get("lost"):
        return [f"; lost on {_list(lost)}."]
    open_tasks = len({line.task for line in found.get("not resolvable", [])})
    if not open_tasks:
        return [f"; no loss{of} was found." if of else "; none was lost."]
    return [f"; no loss{of} was found, but on ", Number(str(open_tasks), "tasks"), " of them none could be excluded."]


def _names(found: list[TaskResult]) -> str:
    names = list(dict.fromkeys(line.task for line in found))
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _list(found: list[TaskResult], most: int = 4) -> str:
    """Task names, with the shots where a task was lost at some and not at others; long lists are cut."""
    shots: dict[str, list[int]] = {}
    for line in found:
        shots.setdefault(line.task, []).append(line.shots)
    names = [f"{task} ({'/'.join(map(str, counts))}-shot)" for task, counts in shots.items()]
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
