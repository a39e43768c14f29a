"""The example run of `tests/report`, for what reads a run's folder."""

from tests.report.conftest import made as made
from tests.report.conftest import run as run
