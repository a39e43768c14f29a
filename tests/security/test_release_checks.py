"""The audit says when it saw nothing, and the bill of materials has what the wheel requires."""

import json
import os
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.security import audit, bill


def report(**vulnerable: list[str]) -> str:
    packages = [
        {"name": name, "version": "1", "vulns": [{"id": entry} for entry in ids]} for name, ids in vulnerable.items()
    ]
    return json.dumps({"dependencies": packages, "fixes": []})


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (report(Django=["PYSEC-1"], torch=[]), audit.OK, "1 packages, 0 findings"),
        (report(django=["PYSEC-1"], torch=["CVE-2"]), audit.FOUND, "torch: CVE-2"),
        (report(django=["PYSEC-1"], torch=["CVE-3"]), audit.OK, "0 findings, 1 explained"),
        (report(django=[], torch=[]), audit.NO_RESULT, "knows no advisory of django==1.11"),
        (report(torch=[]), audit.NO_RESULT, "knows no advisory"),
        (json.dumps({"dependencies": [{"name": "torch", "skip_reason": "not found"}]}), audit.NO_RESULT, "1 of 1 were skipped: not found"),
        ("", audit.NO_RESULT, "gave no report: ConnectionError: unreachable"),
    ],
)  # fmt: skip
def test_an_audit_without_its_control_is_no_result(text: str, code: int, words: str) -> None:
    outcome = audit.read(text, "warning\nConnectionError: unreachable\n", {"CVE-3": "not called"})
    assert outcome.code == code
    assert words in "\n".join(outcome.lines)


def test_every_pinned_package_is_asked_about_without_its_build_mark(tmp_path: Path) -> None:
    tool = tmp_path / "tool.py"
    tool.write_text(
        "import json, sys\nnames = [line.split('==')[0] for line in sys.stdin]\n"
        "print(json.dumps({'dependencies': [{'name': n, 'vulns': [{'id': 'X'}] * (n == 'django')} for n in names]}))\n"
    )
    assert audit.pins("torch==2.13.0+cpu\n-e git+https://x#egg=y\nyaml @ file:///x\nrich==15.0\n") == [
        "torch==2.13.0",
        "rich==15.0",
    ]
    outcome = audit.run([sys.executable, str(tool)], "torch==2.13.0+cpu\nrich==15.0\n")
    assert (outcome.code, outcome.lines[-1]) == (audit.OK, "audit: 2 packages, 0 findings, 0 explained in SECURITY.md")
    assert audit.run([str(tmp_path / "none")], "").code == audit.NO_RESULT


def test_every_explained_advisory_stands_in_security_md() -> None:
    text = (bill.ROOT / "SECURITY.md").read_text()
    assert all(advisory in text for advisory in audit.EXPLAINED)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "holdfast-7.8.9-py3-none-any.whl"
    lines = [
        "Metadata-Version: 2.4",
        "Name: holdfast",
        "Version: 7.8.9",
        "Requires-Dist: PyYAML>=6",
        'Requires-Dist: ray; extra == "scale"',
    ]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("holdfast-7.8.9.dist-info/METADATA", "\n".join(lines) + "\n")
    return path


def written(*names: str) -> dict[str, Any]:
    parts = [{"name": name, "version": "1.0"} for name in names]
    return {"bomFormat": "CycloneDX", "metadata": {"component": {"name": "holdfast"}}, "components": parts}


def test_the_bill_names_the_wheel_by_version_and_hash_and_what_it_requires(wheel: Path) -> None:
    made = bill.of_wheel(written("pyyaml", "holdfast"), wheel)
    root = made["metadata"]["component"]
    assert (root["version"], root["purl"]) == ("7.8.9", "pkg:pypi/holdfast@7.8.9")
    assert len(root["hashes"][0]["content"]) == 64
    assert [part["name"] for part in made["components"]] == ["pyyaml"]
    with pytest.raises(ValueError, match="requires PyYAML, of which the environment has none"):
        bill.of_wheel(written("rich"), wheel)


@pytest.mark.slow  # The tool looks at every file of the environment.
def test_the_tool_writes_a_bill_of_this_environment(wheel: Path) -> None:
    tool = shutil.which(
        "cyclonedx-py", path=os.pathsep.join(map(str, (Path(sys.executable).parent, bill.ROOT / ".venv/audit/bin")))
    )
    if tool is None:
        pytest.skip("cyclonedx-py is not here: pip install cyclonedx-bom")
    made = bill.of_wheel(bill.of_environment(sys.executable, tool), wheel)
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", bill.SCHEMA)
    parts = {part["name"].casefold(): part for part in made["components"]}
    assert parts["torch"]["purl"].startswith("pkg:pypi/torch@")
    assert all(part.get("version") for part in parts.values())
