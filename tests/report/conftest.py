"""One example run, written once and copied for tests that change it."""

import shutil
from pathlib import Path

import pytest

from tests.report import example_run


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return example_run.make(tmp_path_factory.mktemp("report") / "rte-promot")


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A run folder of the test's own."""
    return Path(shutil.copytree(made, tmp_path / made.name))
