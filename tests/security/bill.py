"""The software bill of materials of a release: CycloneDX, of an environment in which the wheel alone was installed.

    python -m tests.security.bill dist/holdfast-X.Y.Z-py3-none-any.whl --python FRESH/bin/python --tool TOOLS/bin/cyclonedx-py

`make sbom` does it. The tool writes the components; added here is what it leaves out because the version is dynamic: version and SHA-256 of
the wheel. The bill is refused where a package that the wheel requires is missing from it, or has no version.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
SCHEMA = "1.6"


def of_environment(python: str, tool: str) -> dict[str, Any]:
    """Return the bill that the tool writes of an environment."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bill.json"
        command = [
            tool,
            "environment",
            python,
            "--pyproject",
            str(ROOT / "pyproject.toml"),
            "--sv",
            SCHEMA,
            "--of",
            "JSON",
        ]
        subprocess.run([*command, "--output-reproducible", "-o", str(path)], check=True)
        return json.loads(path.read_text(encoding="utf-8"))


def of_wheel(bill: dict[str, Any], wheel: Path) -> dict[str, Any]:
    """Return the bill as that of a wheel.

    Raises:
        ValueError: a package that the wheel requires is no component, or has no version.
    """
    metadata = Parser().parsestr(_metadata(wheel))
    versions = {canonicalize_name(part["name"]): part.get("version", "") for part in bill["components"]}
    required = [Requirement(text) for text in metadata.get_all("Requires-Dist") or ()]
    # Extras are not installed; markers of other systems neither.
    names = [r.name for r in required if r.marker is None or r.marker.evaluate({"extra": ""})]
    if missing := [name for name in names if not versions.get(canonicalize_name(name))]:
        raise ValueError(
            f"{wheel.name} requires {', '.join(missing)}, of which the environment has none; install the wheel in it first"
        )
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    name, version = metadata["Name"], metadata["Version"]
    root = bill["metadata"]["component"] | {
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{canonicalize_name(name)}@{version}",
        "hashes": [{"alg": "SHA-256", "content": digest}],
    }
    # The wheel itself is the subject and no part of itself.
    parts = [part for part in bill["components"] if canonicalize_name(part["name"]) != canonicalize_name(name)]
    return bill | {"metadata": bill["metadata"] | {"component": root}, "components": parts}


def _metadata(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return archive.read(name).decode()


def main() -> None:
    """Write the bill beside the wheel."""
    parser = argparse.ArgumentParser()
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--tool", default="cyclonedx-py")
    chosen = parser.parse_args()
    bill = of_wheel(of_environment(chosen.python, chosen.tool), chosen.wheel)
    path = chosen.wheel.with_name("-".join(chosen.wheel.name.split("-")[:2]) + ".cdx.json")
    path.write_text(json.dumps(bill, indent=1) + "\n", encoding="utf-8")
    print(f"{path}: {len(bill['components'])} components")


if __name__ == "__main__":
    main()
