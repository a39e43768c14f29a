"""Hold runs against a policy: the Python name behind `holdfast compare --policy FILE`."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from holdfast.api.moved_base import stand_in
from holdfast.atomic_files import write_text
from holdfast.models import resolve
from holdfast.models.adapter import is_adapter, read_adapter
from holdfast.models.endpoint import endpoint_of
from holdfast.models.fingerprint import fingerprint
from holdfast.plugins import CODE
from holdfast.report.sentences import beside_chance
from holdfast.results import run_folder, units
from holdfast.results.evidence import Evidence, Fingerprint, changed_files, read_evidence, same_model
from holdfast.results.policy import EXIT, Check, Outcome, judge, outcome, read_policy
from holdfast.results.statistics import Estimate
from holdfast.results.summary import Summary
from holdfast.results.visible import visible
from holdfast.tasks import sources

DECIDES = "Kept: the whole 95 % interval keeps the rule. Lost: the whole interval that is widened for the number of rules breaks it."


@dataclass(frozen=True)
class Judged:
    """One run held against a policy.

    `unchecked` says of which part of the evidence nothing can be said here, `floored` where the base stands beside chance on the general
    tasks that have no rule for that reason, and `same` that no two models were compared, where that is so.
    """

    folder: Path
    checks: list[Check]
    evidence: Evidence
    unchecked: list[str]
    floored: str = ""
    same: str = ""

    @property
    def counts(self) -> str:
        """Return the numbers of rules by their outcome, and the tasks without a rule, as a sentence."""
        outcomes = [check.outcome for check in self.checks]
        text = ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in EXIT)
        left = f"; without a rule where the base {self.floored}" if self.floored else ""
        return f"{len(outcomes)} rule{'' if len(outcomes) == 1 else 's'}: {text}{left}."

    @property
    def worst_first(self) -> list[Check]:
        """Return the checks by their outcome, those that failed first, and within one by how far the measured value is below the bound."""
        order: dict[Outcome, int] = {"lost": 0, "unclear": 1, "kept": 2}
        return sorted(self.checks, key=lambda check: (order[check.outcome], check.slack))

    @property
    def outcome(self) -> Outcome:
        """Return the outcome of all rules together."""
        return outcome(self.checks)


def gate(folders: Iterable[str | Path], policy: str | Path) -> list[Judged]:
    """Return each run with the outcome of every rule of a policy (a YAML file; see `holdfast.results.policy.Policy`).

    Raises:
        ValueError: the policy is no policy; a folder has no evidence, or its evidence is stale: a model, a task or the numbers have
            changed since they were measured.
    """
    rules, judged = read_policy(Path(policy)), []
    for folder in map(Path, folders):
        run = run_folder.read(folder)
        evidence = read_evidence(folder)
        if evidence is None:
            raise ValueError(
                f"{folder}: has no evidence.json, so nothing says what its numbers were measured on; a gate takes a folder of "
                "`evaluate BASE --against TUNED --out DIR` or of `tune`"
            )
        unchecked = check_evidence(folder, evidence)
        try:
            summary = Summary.of(run.scores)
            checks = judge(summary, rules)
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from None
        floored = [line for line in summary.floored if line.task not in rules.tasks]
        same = same_model(evidence, bool(summary.by_own_metric("target")))
        judged.append(Judged(folder, checks, evidence, unchecked, beside_chance(floored, len(floored)), same))
    return judged


def worst(judged: Iterable[Judged]) -> int:
    """Return the exit code for several runs: 2 where one has lost, else 3 where one is unclear, else 0."""
    codes = [EXIT[run.outcome] for run in judged]
    return next((code for code in (2, 3) if code in codes), 0)


def check_evidence(folder: Path, evidence: Evidence) -> list[str]:
    """Compare what was measured with what lies here now; return what could not be compared, in words.

    Raises:
        ValueError: the numbers, a model or a task are not what was measured.
    """
    again = "measure again, with --overwrite"
    if changed := changed_files(folder, evidence):
        raise ValueError(f"{folder / changed[0]}: is not as it was measured; {again}")
    unchecked = []
    inside = run_folder.RunFolder(folder).is_run
    for part in (evidence.base, *evidence.tuned):
        path = folder / part.argument if inside and part is not evidence.base else Path(part.argument)
        now = _version_of_model(part, path, evidence.base.argument)
        if now is None:
            unchecked.append(f"{part.argument} is not here")
        elif now == part.argument:
            unchecked.append(f"{part.argument} is known by its name on the hub alone")
        elif now != part.version:
            raise ValueError(f"{folder}: {path} has changed since it was measured; {again}")
    for task in evidence.tasks:
        # A task of a user's may run code when it is read, and a folder that somebody sends is no program.
        if CODE.search(task.argument):
            unchecked.append(f"task {task.argument} would run code")
            continue
        try:
            now = sources.load_task(task.argument).version
        except (ValueError, OSError, ImportError):
            unchecked.append(f"task {task.argument} cannot be read here")
            continue
        if now != task.version:
            raise ValueError(f"{folder}: the data of {task.argument} has changed since it was measured; {again}")
    return unchecked


def _version_of_model(part: Fingerprint, path: Path, base: str) -> str | None:
    """Return the fingerprint of a model or prompt as it lies here; None where it does not. `base` stands in for one that is gone."""
    if path.exists():
        # A prompt changes no weights, so its folder alone is what was measured.
        adapter = read_adapter(str(path), base) if is_adapter(str(path)) else None
        return fingerprint(str(path)) if adapter and not adapter.merges else _whole(path, part, base)
    # Of a model behind a server nothing says that it is the same as then.
    named = part.argument == "lab" or (part.version == part.argument and endpoint_of(part.argument) is None)
    return resolve.version(part.argument) if named else None


def _whole(path: Path, part: Fingerprint, base: str) -> str:
    """Return the version of a model's folder; of an adapter inside a run, that of its folder, as it was written down."""
    alone = fingerprint(str(path))
    return alone if alone == part.version else resolve.version(str(path), stand_in(str(path), base))


def markdown(judged: list[Judged], policy: str | Path) -> str:
    """Return the outcome as Markdown, for the comment of a pull request: each rule, what was measured, and on what."""
    parts = []
    for run in judged:
        rules = f"{len(run.checks)} rule{'' if len(run.checks) == 1 else 's'}"
        rows = [
            f"| rule | measured [95 %] | widened for {rules} | items | outcome |",
            "| --- | --- | --- | ---: | --- |",
        ]
        for check in run.worst_first:  # A comment is read from above.
            cells = [_cell(check.rule), measured(check), limits(check.widened), str(check.items), _cell(words(check))]
            rows.append(f"| {' | '.join(cells)} |")
        base, tuned = (
            run.evidence.base,
            " and ".join(f"`{part.argument}` ({part.version})" for part in run.evidence.tuned),
        )
        shots = ", ".join(map(str, run.evidence.shots))
        count = len(run.evidence.tasks)
        tasks = f"{count} task{'' if count == 1 else 's'}"
        limit = f", at most {run.evidence.limit} items a task" if run.evidence.limit else ""
        lines = [
            f"## {run.folder.resolve().name}: {run.outcome}",
            *([f"**{run.same}**"] if run.same else []),
            run.counts,
            "\n".join(rows),
            DECIDES,
            f"Base `{base.argument}` ({base.version}); tuned {tuned}; {tasks} at {shots} shots{limit}; "
            f"holdfast {run.evidence.versions.get('holdfast', '?')}; policy `{policy}`.",
        ]
        lines += [f"Not compared with what was measured: {'; '.join(run.unchecked)}."] if run.unchecked else []
        parts.append("\n\n".join(lines))
    return "\n\n".join(parts) + "\n"


def write_summary(judged: list[Judged], policy: str | Path, path: Path) -> None:
    """Write the outcome as Markdown (`markdown`) into a file."""
    write_text(path, markdown(judged, policy))


def write_failure(message: str, policy: str | Path, path: Path) -> None:
    """Write into a file, as Markdown, why nothing could be judged."""
    lines = "\n".join(f"    {line}" for line in visible(message).splitlines())
    text = f"## Not judged\n\nThe gate ended with an error, so nothing is known to be kept (policy `{policy}`):\n\n{lines}\n"
    write_text(path, text)


def measured(check: Check) -> str:
    """Return a rule's measured value with its interval; a change with its sign, so that a gain is not read as a loss."""
    value = check.measured
    if value is None:
        return "–"
    number = units.points(value.value, check.is_change)
    return f"{'change ' if check.is_change else ''}{number} {limits(value)}"


def limits(value: Estimate | None) -> str:
    """Return an interval: `[-1.2, 3.4]`."""
    return "–" if value is None else f"[{units.points(value.low)}, {units.points(value.high)}]"


def words(check: Check) -> str:
    """Return a rule's outcome, with what would tell where these items do not."""
    reasons = "; ".join(why(check))
    return f"{check.outcome}: {reasons}" if reasons else check.outcome


def why(check: Check) -> list[str]:
    """Return the reason for which a rule is unclear, where it is another than few items, and how many would tell."""
    needed = f"about {units.about(check.needed)} items would tell" if check.needed else ""
    return [text for text in (check.reason, needed) if text]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
