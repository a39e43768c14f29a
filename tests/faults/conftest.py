"""One server for all kills and faults: it imports torch once."""

from collections.abc import Iterator

import pytest

from tests.faults.kills import Runner, runner


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    with runner(tmp_path_factory.mktemp("faults")) as server:
        yield server
