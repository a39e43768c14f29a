"""Find techniques by folder: a method, recipe, edit, ... exists because its file does. No list to forget.

A class registers by its base class, a function by a decorator. `family` says which folders there are, `listing` reads what a list shows
from the text of the files, `finding` imports a technique once it is used, and `user_code` runs files of users.
"""

from holdfast.plugins.family import (
    ANALYSES,
    CURATIONS,
    DECODINGS,
    EDITS,
    METHODS,
    RECIPES,
    Family,
    name_of,
    register,
    snake,
    unknown,
)
from holdfast.plugins.finding import belongs, configure, find, known, members
from holdfast.plugins.listing import Technique, assigned_calls, imported, lineage, records, techniques, tree
from holdfast.plugins.user_code import CODE, refuse_code, run_file

__all__ = [
    "ANALYSES",
    "CODE",
    "CURATIONS",
    "DECODINGS",
    "EDITS",
    "METHODS",
    "RECIPES",
    "Family",
    "Technique",
    "assigned_calls",
    "belongs",
    "configure",
    "find",
    "imported",
    "known",
    "lineage",
    "members",
    "name_of",
    "records",
    "refuse_code",
    "register",
    "run_file",
    "snake",
    "techniques",
    "tree",
    "unknown",
]
