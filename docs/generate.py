"""Write the generated pages from the code: `python docs/generate.py` where holdfast is installed. A test compares them."""

import ast
import json
import re
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


def composition(first: str, second: str) -> str:
    """The composition of two methods: the one that chooses the parameters first, or full fine-tuning where neither does."""
    from holdfast.plugins import METHODS, techniques

    joins = {name: technique.joins for name, technique in techniques(METHODS).items()}
    if joins[first] and joins[second]:
        return f"full+{first}+{second}"
    return f"{second}+{first}" if joins[first] else f"{first}+{second}"


def refusal(first: str, second: str) -> str:
    """Why two methods are refused when a run is planned, or nothing."""
    from holdfast.recipes.find import find_recipe
    from holdfast.recipes.plan import RecipePlan
    from holdfast.tasks.task_set import TaskRef

    try:
        find_recipe(composition(first, second))(RecipePlan("model", (TaskRef("task"),)))
    except ValueError as error:
        return str(error)
    return ""


def combinations() -> str:
    """Every pair of methods: one that runs, or the reason why not."""
    from holdfast.plugins import METHODS, techniques

    joining = [name for name, technique in techniques(METHODS).items() if technique.joins]
    choosing = [name for name in techniques(METHODS) if name not in joining]
    reasons: list[str] = []
    lines = []
    for row in (*choosing, *joining):
        cells = []
        for column in joining:
            reason = refusal(row, column)
            # Said of the method that refuses, and not of the pair, so that the same reason is one line below the table.
            reason = re.sub(r"^methods: (\w+) makes no sense beside \w+:", r"\1:", reason)
            reason = re.sub(r"^methods: \w+, \w+ (each replace the loss)", r"both \1", reason)
            reason = re.sub(r"^methods: \w+ is there", "it is there", reason)
            reason = re.sub(
                rf"^[\w+]+: {row} trains no model that {column} could",
                f"{row} trains no model that another could",
                reason,
            )
            if reason and reason not in reasons:
                reasons.append(reason)
            cells.append(str(reasons.index(reason) + 1) if reason else "+")
        lines.append(f"| `{row}` | {' | '.join(cells)} |")
    return COMBINATIONS.format(
        header=" | ".join(f"`{name}`" for name in joining),
        rule=" | ".join("---" for _ in joining),
        lines="\n".join(lines),
        reasons="\n".join(f"{number}. {reason}" for number, reason in enumerate(reasons, start=1)),
    )


COMBINATIONS = """# Methods together

Generated from the code by `python docs/generate.py`. A `+` is a pair that trains (`--method full+kl_base`; `--method full+ewc+kl_base`
where neither chooses which parameters move); a number is the reason below for which it is refused before anything is loaded. A test trains
every pair that is not refused. Two methods that both choose the parameters are always refused, and so are in no column.

| | {header} |
| --- | {rule} |
{lines}

{reasons}
"""


def many_items() -> str:
    """Seconds and memory of evaluations over decades of items, from the newest results of `benchmarks.many`."""
    results = sorted((HERE.parent / "benchmarks" / "results").glob("*-many.json"))[-1]
    record = json.loads(results.read_text())
    parts = [MANY_ITEMS.format(date=record["date"], file=results.name)]
    for case, content in record.items():
        name, _, model = case.partition(" by ")
        if name not in CASES:
            continue
        answers = f"{model} answers (two choices of one token)" if model else CASES[name]
        parts.append(f"{answers}:\n\n{ITEMS_HEADER}")
        for row in content["rows"]:
            megabytes = (f"{row[key] / 1e6:,.0f}" if key in row else "-" for key in ("memory", "most", "written"))
            parts.append(
                f"| {row['size']:,} | {row['seconds']:,.1f} | {row['size'] / row['seconds']:,.0f} | {' | '.join(megabytes)} |"
            )
        fitted = content["exponents"]
        files = f", files {fitted['written']:.2f}" if "written" in fitted else ""
        parts.append(
            f"\nExponents: seconds {fitted['seconds']:.2f}, memory of the process {fitted['most']:.2f}{files}.\n"
        )
    return "\n".join(parts)


MANY_ITEMS = """# Evaluations of many items

Generated from `benchmarks/results/{file}` ({date}) by `python docs/generate.py`; measured by `python -m benchmarks.many`. Each
task at 0 shots, into a folder, each size in a process of its own, one thread. Seconds are of the processor; the machine was shared.
Memory is the most that the process held: above a first command of 100 items, and in all. Exponents are slopes of logarithms over all
sizes: 1 is linear, 0 flat. docs/scale.md says what is held and what is not.
"""
CASES = {
    "evaluation": "`evaluate`, and a script answers",
    "single": "`evaluate` of a task in a single file of so many rows, of which a tenth is asked, and a script answers",
    "letters": "`evaluate --metric accuracy_letter`, and a script answers",
    "tuning": (
        "`tune` of one step of the lab's model, and a script answers: items of two models and two tasks together, one of them general, "
        "whose answers are held up to 100,000 items"
    ),
    "studying": "What follows from a study of two runs, with their answers to a target and to a general task together",
}
ITEMS_HEADER = """| items | seconds | items a second | memory above, MB | in all, MB | outputs.jsonl, MB |
| ---: | ---: | ---: | ---: | ---: | ---: |"""


def with_hooks() -> str:
    """The page on adding a technique, with the signature of every hook of a method in its block."""
    from holdfast.plugins import METHODS, tree

    base = next(n for n in tree(METHODS.home).body if isinstance(n, ast.ClassDef) and n.name == METHODS.registrar)
    lines = []
    for node in base.body:
        decorators = [ast.unparse(d) for d in getattr(node, "decorator_list", [])]
        if isinstance(node, ast.FunctionDef) and node.name[0] != "_" and "classmethod" not in decorators:
            returned = ast.unparse(node.returns) if node.returns else "None"
            head = f"def {node.name}({ast.unparse(node.args)}) -> {returned}: ...".replace("'", "")
            lines += [*(f"@{decorator}" for decorator in decorators), head]
    block = HOOKS.format(lines="\n".join(lines))
    return re.sub(
        r"<!-- hooks.*<!-- end of hooks -->",
        lambda _: block,
        (HERE / "add-a-technique.md").read_text(),
        flags=re.DOTALL,
    )


HOOKS = """<!-- hooks: written by `python docs/generate.py` from the base class -->
```py
{lines}
```
<!-- end of hooks -->"""

GENERATED = {
    "add-a-technique.md": with_hooks,
    "cli.md": command_line,
    "methods.md": methods,
    "combinations.md": combinations,
    "many-items.md": many_items,
}

if __name__ == "__main__":
    for name, make in GENERATED.items():
        (HERE / name).write_text(make())
