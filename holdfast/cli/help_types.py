"""Words for the values of options in `--help`, where typer would write Python's types: `--plan <bool>` looks as if it took a value."""

from typing import Any

WORDS = {
    "<bool>": "",  # A switch has no value.
    "<int>": "N",
    "<int range>": "N",
    "<float>": "NUMBER",
    "<float range>": "NUMBER",
    "<path>": "PATH",
    "<str>": "TEXT",
    "<list[str]>": "TEXT",
}


def in_words(group: Any) -> Any:
    """Return typer's group of commands with these words in the place of types, and arguments in capitals."""
    for command in group.commands.values():
        context = command.context_class(command)
        for parameter in (*command.params, command.get_help_option(context)):
            if parameter.param_type_name == "argument":
                parameter.metavar = parameter.metavar or parameter.name.upper()
                parameter.display_type_rich = lambda ctx: None  # The name says it.
            # Earlier versions of typer have other texts, and no such function.
            elif parameter.metavar is None and hasattr(parameter, "display_type"):
                parameter.metavar = WORDS.get(parameter.display_type(context))
    return group
