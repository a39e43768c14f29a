"""The commands that list what there is: techniques of every moment, and tasks. None imports torch."""

from holdfast import plugins
from holdfast.cli import output
from holdfast.cli.options import Json


def methods(json_: Json = False) -> None:
    """Training methods and recipes, for `--method`."""
    output.listing(plugins.records(plugins.RECIPES, plugins.METHODS), json_)


def curations(json_: Json = False) -> None:
    """Curations of the training data."""
    output.listing(plugins.records(plugins.CURATIONS), json_)


def edits(json_: Json = False) -> None:
    """Edits of a tuned model, for `--edit`."""
    output.listing(plugins.records(plugins.EDITS), json_)


def decodings(json_: Json = False) -> None:
    """Decodings: techniques at inference."""
    output.listing(plugins.records(plugins.DECODINGS), json_)


def analyses(json_: Json = False) -> None:
    """Analyses of a tuned model, for `--analyse`."""
    output.listing(plugins.records(plugins.ANALYSES), json_)


def tasks(json_: Json = False) -> None:
    """Tasks of the catalogue and the lab."""
    from holdfast.tasks.sources import listing

    output.listing(listing(), json_)


COMMANDS = (methods, curations, edits, decodings, analyses, tasks)
