"""The verdict on a run in plain sentences, each a list of pieces, so that a page can mark the numbers in it."""

from collections.abc import Sequence
from itertools import chain
from statistics import fmean
from typing import NamedTuple

from holdfast.results.scores import Score, Verdict
from holdfast.results.statistics import Estimate
from holdfast.results.summary import Shift, Summary, TaskResult
from holdfast.results.units import about, factor, points, with_interval
from holdfast.results.verdicts import by_chance, change_of

CARRIED = 10.0  # points of format share: less is not said to be carried to other tasks


class Number(NamedTuple):
    """A number inside a sentence: its text, and which summary it is."""

    text: str
    of: str


Piece = str | Number


def interval(estimate: Estimate) -> str:
    """Return an estimate's interval in points: `[-1.2, 3.4]`."""
    return f"[{points(estimate.low)}, {points(estimate.high)}]"


def verdict_on(summary: Summary) -> str:
    """Return the whole verdict on a run as text, for a terminal or a card."""
    sentences = [*headline(summary), collapse(summary), unresolved(summary), floored(summary)]
    return " ".join(plain(s) for s in sentences if s)


def plain(sentence: list[Piece]) -> str:
    """Return a sentence as text."""
    return "".join(piece.text if isinstance(piece, Number) else piece for piece in sentence)


def lead(summary: Summary) -> list[Piece]:
    """Return the verdict in one sentence: on the target, on how many of the general tasks, and on how much of them is kept."""
    if not summary.by_own_metric("target"):  # two models that were compared, and nobody said on what one was tuned
        first, *rest = [*_general_briefly(summary), *_collapse_briefly(summary), "."]
        return [str(first)[0].upper() + str(first)[1:], *rest]
    target = _target(summary, limits=False)
    end = target.pop()
    assert isinstance(end, str)  # every ending of `_target` is text with a full stop, which gives way to the semicolon
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
    """Return the same without intervals, to stand at the end of the verdict: of answers that are labels, not how they begin as well."""
    pieces: list[Piece] = []
    answers = [shift for shift in summary.collapsed if shift.metric != "first_token_mass"]
    lost_any = "lost" in summary.by_verdict("general")
    for shift in answers or summary.collapsed:
        start, end = _shift_in_words(summary, shift, many="their answers", single="an answer to them")
        pieces += [
            ", and " if pieces else "; and " if lost_any else "; but ",
            start,
            Number(f"{points(shift.tuned)} %", "collapse"),
        ]
        pieces += [end, Number(f"{points(shift.base)} %", "collapse"), ")"]
    return pieces


def _shift_in_words(summary: Summary, shift: Shift, *, many: str, single: str) -> tuple[str, str]:
    """Return the text before the tuned model's share, and that between it and the base's."""
    targets = _names(summary.by_own_metric("target")) or "the tuned task"
    at = f"at {shift.shots} shot{'' if shift.shots == 1 else 's'} "
    if shift.metric == "first_token_mass":
        named = any(other.metric == "format_share" for other in summary.collapsed)
        return (
            f"{at}{single} begins as {'one of them' if named else f'a label of {targets}'} with probability ",
            " (base ",
        )
    if shift.metric == "format_share":
        return at, f" of {many} are now labels of {targets} (base "
    labels = "labels, " if summary.by_own_metric("target") else ""
    return at, f" of {many} are now {labels}empty, or did not stop (base "


def lost(summary: Summary) -> str:
    """Return the sentence that names the general tasks that were lost, and at how many shots; empty where none was."""
    lines = _worst_first(summary.by_verdict("general").get("lost", []))
    return f"Lost on {_list(lines, most=8)}." if lines else ""


def headline(summary: Summary) -> list[list[Piece]]:
    """Return one sentence on the target and one on the general tasks: the gains and the losses."""
    return [*([_target(summary)] if summary.by_own_metric("target") else []), _general(summary)]


def unresolved(summary: Summary) -> list[Piece]:
    """Return the sentence that names the general tasks whose items are too few to tell; empty where none is."""
    # Named, and not passed over: this is missing evidence, which a reader would take for "kept".
    unclear = summary.by_verdict("general").get("unclear", [])
    if not unclear:
        return []
    numbers = [line.headline.needed for line in unclear if line.headline and line.headline.needed]
    # One number for all: whoever measures again gives one --limit.
    more = f"; about {about(max(numbers))} of each would tell" if numbers else ""
    return [f"Unclear, with too few items to tell kept from lost: {_list(unclear)}{more}."]


def floored(summary: Summary) -> list[Piece]:
    """Return the sentence that names the general tasks on which the base is not shown above chance; empty where there is none."""
    if not summary.floored:
        return []
    return [f"The base {beside_chance(summary.floored)}: counted in no mean, and neither kept nor lost."]


def beside_chance(lines: Sequence[TaskResult], most: int = 4) -> str:
    """Return where the base stands beside chance on each of some tasks, as what follows "the base"; of more than `most`, their number."""
    by_phrase: dict[str, list[TaskResult]] = {}
    for line in lines:
        if line.chance:
            by_phrase.setdefault(line.chance.phrase, []).append(line)
    parts = []
    for phrase, alike in by_phrase.items():
        needed = max((line.chance.needed or 0 for line in alike if line.chance), default=0)
        more = f" (about {about(needed)} items would tell)" if needed else ""
        parts.append(f"{phrase} on {_list(alike, most)}{more}")
    return ", and ".join(parts)


def noise(summary: Summary) -> str:
    """Return the sentence on the base's own movement between two measurements; empty where it was measured once."""
    if summary.noise is None:
        return ""
    size, line = summary.noise
    return (
        f"Measured twice, with other demonstrations, the base moved by up to {points(size)} points ({line.task}, {line.shots}-shot); a "
        "change that is smaller than its own task's movement is not called gained or lost."
    )


def chance(summary: Summary) -> str:
    """Return the sentence on changes that only seem certain because so many were measured, with the intervals that decide; or nothing."""
    counting = {id(line.headline) for line in [*summary.by_own_metric("target"), *summary.counted]}
    scores = list(chain.from_iterable(line.tuned.values() for line in summary.lines))
    changes = [change for change in by_chance(scores) if id(change.score) in counting]
    if not changes:
        return ""
    parts = []
    for change in changes[:4]:
        score, wide = change.score, interval(change.change.scaled(factor(change.score.metric) or 1.0))
        alone = with_interval(score, "delta")
        parts.append(f"{score.task} ({score.shots}-shot) {alone}, widened for {change.tests} changes {wide}")
    rest = f"; and {len(changes) - 4} more" if len(changes) > 4 else ""
    return (
        "Called neither gained nor lost although their own intervals exclude zero, as among so many changes some do by chance: "
        f"{'; '.join(parts)}{rest}. The widened interval decides."
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
    """Return the sentence that puts the stage-1 prompt's score on the target beside the tuned model's; empty where there is none.

    That score does not foretell what the run keeps (docs/studies/lab-first.md), but where it is as good, nothing needs to move.
    """
    alone, summary = Summary.of(scores, 0).target_value, Summary.of(scores)
    tuned = summary.target_value
    if alone is None or tuned is None:
        return ""
    names = _names(summary.by_own_metric("target"))
    text = f"Stage 1, which trains the prompt alone, scores {points(alone.value)} on {names}; stage 2, which then tunes the model, "
    text += f"{points(tuned.value)} {interval(tuned)}"
    instead = "With `--method prompt_tuning` stage 1 is all, and the model is left as it is."
    if alone.value >= tuned.value:
        return f"{text}: no better. {instead}"
    # Within the tuned model's interval, and not by a test: the two scores are not recorded as a pair.
    if alone.value >= tuned.low:
        return f"{text}; it is unclear from these items whether that is better. {instead}"
    return f"{text}."


def transfer(summary: Summary) -> str:
    """Return the sentence on the earlier targets of a sequence under the later ones (BWT); empty where there was no sequence."""
    moved = summary.transfer
    if moved is None:
        return ""
    return (
        f"Backward transfer (BWT): {points(moved.value, True)} points {interval(moved)} on {earlier(summary)}, at the end of the "
        "sequence against right after the own stage."
    )


def earlier(summary: Summary) -> str:
    """Return the names of the earlier targets of a sequence; of three or more, their number."""
    names = list(dict.fromkeys(line.task for line in summary.sequence))
    return _names(summary.sequence) if len(names) < 3 else f"{len(names)} earlier targets"


class FormatLocation(NamedTuple):
    """General answers in the target's format, in points: of the base, of the base behind the prompt of stage 1 (`alone`), and of the tuned
    model with its prompt attached (`on`) and removed (`off`); means over tasks, all at `shots`.
    """

    base: float
    alone: float
    on: float
    off: float
    shots: int


def format_location(scores: Sequence[Score]) -> FormatLocation | None:
    """Return the format share with and without prompt and tuning, which tells whether prompt or weights hold the format.

    None where no earlier stage trained the prompt, or the general tasks were not evaluated with it attached (at step 0).
    """
    before = {(line.task, line.shots): line for line in Summary.of(scores, 0).symptom("format_share")}
    after = [line for line in Summary.of(scores).symptom("format_share") if (line.task, line.shots) in before]
    pairs = [(before[line.task, line.shots], line) for line in after]
    shares = [
        (100 * old.base.value, *(100 * score.value for score in (old.tuned["on"], new.tuned["on"], new.tuned["off"])))
        for old, new in pairs
        if old.base and "on" in old.tuned and {"on", "off"} <= new.tuned.keys()
    ]
    if not shares:
        return None
    # fmean over one list of lines: a task that lacks one of the four numbers is in none of the means.
    base, alone, on, off = (fmean(column) for column in zip(*shares, strict=True))
    return FormatLocation(base, alone, on, off, after[0].shots)


def format_sentence(location: FormatLocation | None) -> str:
    """Return the sentence on the part that holds the tuned task's format, prompt or model; empty where it cannot be said."""
    if location is None:
        return ""
    base, alone, on, off, shots = location
    # In this order: each test assumes that those before it failed, and the model's part is looked for before the prompt's.
    if max(alone, on, off) - base < CARRIED:
        text = "neither the prompt nor the model carries the format to other tasks"
    elif off - base >= (max(alone, on) - base) / 2:
        text = "the format is in the model too, and taking the prompt off does not remove it"
    elif alone - base < CARRIED:
        text = "the format shows only where prompt and tuned model meet: the prompt alone does not carry it, and it comes off with it"
    else:
        text = "the format lives in the prompt and comes off with it"
    return (
        f"General tasks ({shots}-shot) answered in the tuned task's format: base {points(base)} %, base behind the prompt of "
        f"stage 1 {points(alone)} %; tuned, prompt attached, {points(on)} %, prompt removed {points(off)} %. So {text}. (The rule: less "
        f"than {CARRIED:.0f} points above the base is not carried; it comes off where less than half of it remains without the prompt.)"
    )


def _target(summary: Summary, limits: bool = True) -> list[Piece]:
    gain = summary.gain
    names = _names(summary.by_own_metric("target"))
    # Without its sign where the verb says the direction ("Lost 3.0 points"), with it where no verb does.
    if gain is None:
        return [f"No change was measured on {names}."] if names else ["No target task was measured."]
    word = summary.gain_word
    after: list[Piece] = [" points", *([" ", Number(interval(gain), "gain")] if limits else [])]
    size: list[Piece] = [Number(points(abs(gain.value)), "gain"), *after]
    signed: list[Piece] = [Number(points(gain.value, True), "gain"), *after]
    if each := _target_by_target(summary):
        return [f"On {names} the mean change is ", *signed, f": {each}."]
    if word == "gained":
        return ["Gained ", *size, f" on {names}."]
    if word == "lost":
        return ["Lost ", *size, f" on {names}, which it was tuned for."]
    if word == "kept":
        return [f"No gain on {names}: the change is ", *signed, "."]
    return [f"It is unclear from these items whether anything was gained on {names}: ", *signed, "."]


def _target_by_target(summary: Summary) -> str:
    """Return what is said of each of several targets, where that is not the same of all; empty where it is."""
    groups: dict[str, list[TaskResult]] = {}
    for line in summary.first_shots:
        groups.setdefault(line.verdict or "not compared", []).append(line)
    return ", ".join(f"{word} on {_names(lines)}" for word, lines in groups.items()) if len(groups) > 1 else ""


def _general(summary: Summary) -> list[Piece]:
    by_verdict = summary.by_verdict("general")
    count = len({line.task for line in chain.from_iterable(by_verdict.values())})
    if not count and summary.floored:
        return ["The base is shown to be above chance on no general task, so nothing can be said about forgetting."]
    if not count:
        return ["No general task was compared, so nothing can be said about forgetting."]
    tasks: list[Piece] = [Number(str(count), "tasks"), " general task" + ("s" if count > 1 else "")]
    end = _losses(by_verdict, " of score" if summary.collapsed else "")
    if summary.retention is None:
        # A share of a base that guesses would be a precise number without a meaning; the changes below still hold.
        weak: list[Piece] = [" The share that was retained is unclear: the base is not shown to be above chance there."]
        return ["Compared on ", *tasks, *end, *weak]
    size, limits = f"{points(summary.retention.value)} %", interval(summary.retention)
    start: list[Piece] = ["Retained ", Number(size, "retention"), " ", Number(limits, "retention")]
    return [*start, " of the base's mean score on ", *tasks, *end]


def _general_briefly(summary: Summary) -> list[Piece]:
    """Return the sentence of `_general` without intervals and names, to stand after a semicolon."""
    by_verdict = summary.by_verdict("general")
    count = len({line.task for line in chain.from_iterable(by_verdict.values())})
    # Sets of tasks: one that was lost at 0 and at 1 shot is one lost task.
    lost, unclear = (len({line.task for line in by_verdict.get(word, [])}) for word in ("lost", "unclear"))
    if not count and summary.floored:
        return ["the base is shown to be above chance on no general task, so nothing can be said about forgetting"]
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


def _losses(by_verdict: dict[Verdict, list[TaskResult]], of: str) -> list[Piece]:
    """Return the end of the sentence on general tasks: the names of the lost ones, or that none was.

    `of` (" of score") is inserted where the scores are kept and yet the answers have collapsed into another format.
    """
    if lost := by_verdict.get("lost"):
        return [f"; lost on {_list(_worst_first(lost))}."]
    open_tasks = len({line.task for line in by_verdict.get("unclear", [])})
    if not open_tasks:
        return [f"; no loss{of} was found." if of else "; none was lost."]
    return [f"; no loss{of} was found, but on ", Number(str(open_tasks), "tasks"), " of them one cannot be ruled out."]


def _worst_first(lines: list[TaskResult]) -> list[TaskResult]:
    """Return the lines of tasks by each task's worst change, in points or, of a metric without a scale, in its own unit."""
    worst: dict[str, float] = {}
    for line in lines:
        if line.headline:
            moved = change_of(line.headline).value * (factor(line.metric) or 1.0)
            worst[line.task] = min(moved, worst.get(line.task, moved))
    return sorted(lines, key=lambda line: worst.get(line.task, 0.0))


def _names(lines: list[TaskResult]) -> str:
    names = list(dict.fromkeys(line.task for line in lines))
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _list(lines: list[TaskResult], most: int = 4) -> str:
    """Return task names with their shots; of more than `most`, the first ones and the number of the rest."""
    shots: dict[str, list[int]] = {}
    for line in lines:
        shots.setdefault(line.task, []).append(line.shots)
    names = [f"{task} ({'/'.join(map(str, counts))}-shot)" for task, counts in shots.items()]
    rest = len(names) - most  # counted after the shots are joined, so that "3 more" are tasks
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
