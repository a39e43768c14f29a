"""Every task that has a name, and the suites: lists of names with a name of their own."""

from holdfast.tasks import fticl, promot
from holdfast.tasks.entries import Entry

ENTRIES: dict[str, Entry] = {**promot.ENTRIES, **fticl.ENTRIES}
SUITES: dict[str, tuple[str, ...]] = {"promot-eight": promot.EIGHT, "fticl-five": fticl.FIVE}
