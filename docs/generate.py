"""Write docs/cli.md and docs/methods.md from the code: `python docs/generate.py` where holdfast is installed. A test compares them."""

from pathlib import Path

import typer

HERE = Path(__file__).parent


def command_line() -> str:
    """Every command with its arguments and options."""
    from holdfast.cli.app import app

    parts = ["# The command line\n\nGenerated from the code by `python docs/generate.py`.\n"]
    group = typer.main.get_command(app)
    for name, command in group.commands.items():  # pyright: ignore[reportAttributeAccessIssue]
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
        usage = " ".join(
            ["holdfast", name, *[(p.name or "").upper() for p in arguments], *(["[OPTIONS]"] if options else [])]
        )
        parts.append(f"## {name}\n\n{command.help}\n\n```\n{usage}\n```\n")
        lines = [f"| `{(p.name or '').upper()}` | {getattr(p, 'help', '') or ''} |" for p in arguments]
        lines += [f"| `{p.opts[-1]}` | {p.help or ''}{_default(p)} |" for p in options]
        if lines:
            parts.append("| | |\n| --- | --- |\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _default(parameter: object) -> str:
    value = getattr(parameter, "default", None)
    return "" if value in (None, False, (), []) or callable(value) else f" Default: `{value}`."


def methods() -> str:
    """Every technique with its fields and source."""
    from holdfast.plugins import ANALYSES, CURATIONS, DECODINGS, EDITS, METHODS, RECIPES, records

    families = {
        "Methods and recipes: `--method` of `tune` and `study`": records(RECIPES, METHODS),
        "Curations": records(CURATIONS),
        "Edits: `--edit` of `edit`": records(EDITS),
        "Decodings": records(DECODINGS),
        "Analyses: `--analyse` of `tune`, `study` and `evaluate`": records(ANALYSES),
    }
    parts = ["# Techniques\n\nGenerated from the code by `python docs/generate.py`.\n"]
    for title, techniques in families.items():
        parts.append(f"## {title}\n\n| name | what it does | fields | source |\n| --- | --- | --- | --- |")
        for record in techniques:
            fields = ", ".join(f"`{name}={default}`" for name, default in record["fields"].items())
            parts.append(f"| `{record['name']}` | {record['summary']} | {fields} | {record['source']} |")
        parts.append("" if techniques else "| none yet | | | |\n")
    return "\n".join(parts)


GENERATED = {"cli.md": command_line, "methods.md": methods}

if __name__ == "__main__":
    for name, make in GENERATED.items():
        (HERE / name).write_text(make())
