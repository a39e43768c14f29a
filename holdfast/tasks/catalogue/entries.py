"""Every task that has a name, and the suites: lists of names with a name of their own."""

from holdfast.tasks.catalogue import fticl, promot
from holdfast.tasks.catalogue.entry import Entry

ENTRIES: dict[str, Entry] = {**promot.ENTRIES, **fticl.ENTRIES}
SUITES: dict[str, tuple[str, ...]] = {"promot-eight": promot.EIGHT, "fticl-five": fticl.FIVE}
