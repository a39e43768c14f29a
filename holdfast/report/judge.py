"""The preference of a judge in words and as a table, always beside what the judge itself is worth."""

from rich.console import Group, RenderableType
from rich.text import Text

from holdfast.report.console import plain_table
from holdfast.results.judged import ALL, JudgedTask, JudgeRecord
from holdfast.results.statistics import Estimate

HEADINGS = ("judged", "n", "same", "as judged", "corrected", "verdict")
NOTE = (
    "Share of pairs in which the tuned model's answer is the better one, in %, equal ones counted half. [95 % interval]; that of "
    "the corrected share includes the judge's own errors. same: one answer twice, which nobody was asked about."
)


def title(record: JudgeRecord) -> str:
    """Return the judge and the way it decides."""
    decided = f", by {record.decided}" if record.decided else ""
    return f"Judge {record.judge.argument}{decided}, {record.shots}-shot"


def facts(record: JudgeRecord) -> list[str]:
    """Return what the judge does on pairs with known answers, a sentence each."""
    quality = record.quality
    lines = [
        f"Accuracy: {percent(quality.accuracy)} on {quality.known} pairs with known answers ({record.calibration.argument}), ties counted "
        "half; chance is 50 %.",
        f"Order: the answer shown first is chosen {points(quality.order)} points more often than the last; "
        f"{100 * quality.consistent:.0f} % of the known pairs were decided alike in both orders.",
    ]
    equal = "" if quality.ties_equal is None else f", {100 * quality.ties_equal:.0f} % where both answers are equal"
    lines.append(f"Ties: {100 * quality.ties_known:.0f} % where one answer is right{equal}.")
    lines.append(
        "Length: too few of the pairs differ in length, so a preference for long answers would not be seen."
        if quality.length is None
        else f"Length: the longer answer is preferred by {points(quality.length)} points beyond its quality."
    )
    return lines


def verdict(record: JudgeRecord) -> str:
    """Return the verdict in a sentence for each role, or why there is none."""
    if record.quality.reason:
        return f"No verdict: of this judge, {record.quality.reason}."
    words = {
        "tuned preferred": "the tuned model's answers are preferred",
        "base preferred": "the base's answers are preferred",
        "unclear": "it is unclear from these pairs which model's answers are preferred",
    }
    parts = [
        f"On {name(line)} {words[line.rate.verdict]}: in {percent(line.rate.corrected)} of the pairs the tuned one is better."
        for line in record.summaries
    ]
    return " ".join(parts)


def remarks(record: JudgeRecord) -> list[str]:
    """Return what else a reader must know: replies that said nothing, questions that did not fit, orders that disagreed."""
    lines = record.summaries
    unread, unfit = sum(line.unread for line in lines), sum(line.unfit for line in lines)
    pairs, split = sum(line.n - line.same for line in lines), sum(line.split for line in lines)
    sentences = [f"Of {pairs} pairs that were asked, {split} were decided for another answer in the other order."]
    if unread:
        sentences.append(f"{unread} replies said neither letter, and count as ties.")
    if unfit:
        sentences.append(f"{unfit} pairs were too long for the judge and are left out.")
    return sentences


def rows(record: JudgeRecord) -> list[tuple[str, ...]]:
    """Return the table's rows: all targets, all general tasks, and each task where there are several."""
    singles = {
        line.role: sum(other.role == line.role and other.task != ALL for other in record.tasks) for line in record.tasks
    }
    return [
        (
            name(line), str(line.n), str(line.same), percent(line.rate.raw), percent(line.rate.corrected),
            line.rate.verdict if line.task == ALL else "",
        )
        for line in record.tasks
        if line.task == ALL or singles[line.role] > 1
    ]  # fmt: skip


def terminal(record: JudgeRecord) -> RenderableType:
    """Return the judge's part of a report for a terminal."""
    table = plain_table()
    for number, heading in enumerate(HEADINGS):
        table.add_column(
            heading, justify="left" if number in (0, 5) else "right", overflow="fold", no_wrap=number in (3, 4)
        )
    for row in rows(record):
        table.add_row(*row)
    lines = [Text(f"  {fact}") for fact in facts(record)]
    last = Text(verdict(record), style="bold")
    return Group(Text(), Text(title(record)), *lines, table, Text(NOTE, style="dim"), *map(Text, remarks(record)), last)


def name(line: JudgedTask) -> str:
    """Return a line's name."""
    if line.task != ALL:
        return line.task
    return "the targets" if line.role == "target" else "the general tasks"


def percent(estimate: Estimate | None) -> str:
    """Return a share in per cent with its interval; a dash where there is none."""
    if estimate is None:
        return "-"
    return f"{100 * estimate.value:.0f} % [{100 * estimate.low:.0f}, {100 * estimate.high:.0f}]"


def points(estimate: Estimate) -> str:
    """Return an effect in points with its interval."""
    value, low, high = (f"{100 * number:+.0f}" for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]".replace("-0", "0").replace("+0", "0")
