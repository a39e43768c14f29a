"""Known vulnerabilities of what is installed, by pip-audit, with a control: an audit that could not see anything says so.

`make audit`, which CI runs. Exit 0: no finding that SECURITY.md does not explain; 1: there is one; 3: no result.

pip-audit reports "no known vulnerabilities" also where it looked up nothing: a mirror of the package index knows no advisories, and every
package is skipped then. So a release that is known to be vulnerable is asked about as well: where it passes, nothing else was seen either.
"""

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CONTROL = "django==1.11"  # tens of advisories since 2017, and nothing that we install
# Advisories that do not concern holdfast, with the reason, as SECURITY.md has it.
EXPLAINED: Mapping[str, str] = {}
OK, FOUND, NO_RESULT = 0, 1, 3


@dataclass(frozen=True)
class Audit:
    """The outcome: an exit code, and the lines that say why."""

    code: int
    lines: tuple[str, ...]


def pins(frozen: str) -> list[str]:
    """Return the `name==version` lines of `pip freeze`, without build marks: advisories of torch 2.13.0 are those of 2.13.0+cpu."""
    return [re.sub(r"\+[\w.]+$", "", line) for line in frozen.splitlines() if re.fullmatch(r"[\w.\-\[\],]+==\S+", line)]


def read(report: str, error: str, explained: Mapping[str, str] = EXPLAINED) -> Audit:
    """Return what a report of pip-audit (JSON) says; `error` is what it printed beside it."""
    try:
        packages = json.loads(report)["dependencies"]
        seen = {package["name"].casefold(): [entry["id"] for entry in package.get("vulns", ())] for package in packages}
    except (ValueError, KeyError, TypeError):
        return Audit(NO_RESULT, (f"audit: NO RESULT: pip-audit gave no report: {_last(error)}",))
    control = CONTROL.partition("==")[0]
    if not seen.pop(control, ()):
        reasons = [package["skip_reason"] for package in packages if package.get("skip_reason")]
        why = f" ({len(reasons)} of {len(packages)} were skipped: {reasons[0]})" if reasons else ""
        return Audit(
            NO_RESULT,
            (
                f"audit: NO RESULT: the service knows no advisory of {CONTROL}, which has many, so nothing was seen{why}",
            ),
        )
    skipped = [package["name"] for package in packages if package.get("skip_reason")]
    lines = [f"audit: not looked up: {', '.join(sorted(skipped))}"] if skipped else []
    found = [f"{name}: {advisory}" for name, ids in seen.items() for advisory in ids if advisory not in explained]
    lines += [f"audit: {line}" for line in found]
    told = sum(advisory in explained for ids in seen.values() for advisory in ids)
    lines.append(f"audit: {len(seen) - len(skipped)} packages, {len(found)} findings, {told} explained in SECURITY.md")
    return Audit(FOUND if found else OK, tuple(lines))


def run(command: Sequence[str], frozen: str) -> Audit:
    """Ask pip-audit (`command`) about the packages of `pip freeze`."""
    asked = "\n".join([*pins(frozen), CONTROL]) + "\n"
    arguments = [
        *command,
        "--no-deps",
        "--disable-pip",
        "--format",
        "json",
        "--progress-spinner",
        "off",
        "-r",
        "/dev/stdin",
    ]
    try:
        done = subprocess.run(arguments, input=asked, capture_output=True, text=True, timeout=600)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Audit(NO_RESULT, (f"audit: NO RESULT: pip-audit could not be run: {error}",))
    return read(done.stdout, done.stderr)


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it printed nothing"


def main() -> None:
    """Audit this environment by the pip-audit that is named, print, and exit with the code."""
    frozen = subprocess.run(
        [sys.executable, "-m", "pip", "freeze", "--exclude-editable"], capture_output=True, text=True, check=True
    ).stdout
    outcome = run(sys.argv[1:] or ["pip-audit"], frozen)
    print("\n".join(outcome.lines))
    sys.exit(outcome.code)


if __name__ == "__main__":
    main()
