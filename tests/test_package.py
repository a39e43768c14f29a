"""The wheel: it holds all that the package needs, nothing else, and works where only its dependencies are installed."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
VERSION = "7.8.9"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel of a copy of the package, as version 7.8.9, offline."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "holdfast", source / "holdfast", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, source)
    built = tmp_path_factory.mktemp("built")
    _run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", built, source],
        # The copy has no tags. The release sets its version by one.
        env=os.environ | {"SETUPTOOLS_SCM_PRETEND_VERSION": VERSION},
    )  # fmt: skip
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a fresh environment that sees this one's dependencies, and return its `holdfast`."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    site = Path(_run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip())
    # A line of a .pth file is looked at after the environment's own packages, and the .pth files in it are not read: the checkout, which
    # is installed here by such a file, stays out of sight.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    _run([sys.executable, "-m", "pip", "-q", "--python", python, "install", "--no-deps", "--no-index", wheel])
    return python.with_name("holdfast")


def test_wheel_holds_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    listed = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    files = [path for path in (ROOT / "holdfast").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sorted(listed) == sorted(path.relative_to(ROOT).as_posix() for path in files)


def test_installed_wheel_lists_its_methods_and_knows_its_version(command: Path, tmp_path: Path) -> None:
    assert "promot" in _run([command, "methods"], cwd=tmp_path)
    location = "import holdfast; print(holdfast.__version__, holdfast.__file__)"
    version, file = _run([command.with_name("python"), "-c", location], cwd=tmp_path).split()
    assert version == VERSION
    assert not Path(file).is_relative_to(ROOT)


@pytest.mark.slow
def test_installed_wheel_runs_the_demo(command: Path, tmp_path: Path) -> None:
    shown = _run([command, "demo", "--out", tmp_path / "demo"], cwd=tmp_path)
    assert "Gained 100.0 points" in shown
    assert (tmp_path / "demo" / "comparison.html").exists()


def _run(arguments: list, **options) -> str:
    """Return what a command prints; its errors are shown where it fails."""
    # Without the checkout: it would stand before the installed package.
    environment = {key: value for key, value in options.pop("env", os.environ).items() if key != "PYTHONPATH"}
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, env=environment, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
