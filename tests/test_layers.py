"""DESIGN's import directions and sizes, read from the files themselves: no import, no exceptions list."""

import ast
from functools import cache
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1] / "holdfast"

# place -> the places it may import. A place is a top-level file or folder of holdfast/, or a folder or file in it that is named in full.
# A folder that is divided so is imported as a whole from outside; within it, only in these directions.
MAY_IMPORT: dict[str, set[str]] = {
    "row": set(),
    "plugins": set(),
    "atomic_files": set(),
    "weights": set(),
    "tasks": set(),
    "tasks/formats": {"tasks", "atomic_files"},
    "tasks/text": {"tasks", "tasks/formats", "row"},
    "tasks/examples": {"tasks", "tasks/formats", "tasks/text"},
    "tasks/everyday": {"tasks", "tasks/text", "tasks/examples"},
    "tasks/catalogue": {"tasks", "tasks/formats"},
    "tasks/answers": {"tasks", "tasks/formats", "tasks/text", "tasks/examples", "tasks/everyday", "plugins"},
    "tasks/loaders": {"tasks", "tasks/formats", "tasks/examples", "tasks/answers"},
    "tasks/sources.py": {"tasks", "tasks/formats", "tasks/everyday", "tasks/catalogue", "tasks/loaders"},
    "tasks/task_set.py": {"tasks", "tasks/sources.py"},
    "results": {"atomic_files", "tasks"},
    "lab": {"atomic_files", "tasks"},
    "models": {"weights", "row", "lab", "tasks", "atomic_files"},
    "prefix": {"models", "row"},
    "prompts": {"prefix", "models", "row", "atomic_files"},
    "inference": {"prompts", "prefix", "models", "tasks", "row", "atomic_files"},
    "analysis": {"plugins", "results", "inference", "prefix", "models", "tasks", "row", "weights"},
    "decoding": {"inference", "prefix", "models", "tasks", "row", "plugins"},
    "curation": {"inference", "tasks", "row", "plugins"},
    "methods": {"inference", "prompts", "prefix", "models", "tasks", "row", "plugins", "weights"},
    "edits": {"plugins", "weights"},
    "training": {"methods", "prefix", "models", "row", "atomic_files"},
    "evaluation": {"plugins", "decoding", "inference", "prompts", "prefix", "models", "tasks", "results", "row", "atomic_files"},
    "stages": {
        "training", "evaluation", "methods", "curation", "edits", "decoding", "analysis", "inference", "prompts", "prefix", "models",
        "weights", "tasks", "results", "row", "plugins", "atomic_files",
    },
    "recipes": {"curation", "decoding", "edits", "stages", "training", "methods", "models", "tasks", "plugins"},
    "report": {"results", "plugins", "atomic_files"},
    "api": {
        "recipes", "stages", "evaluation", "decoding", "inference", "prompts", "prefix", "models", "lab", "tasks", "results", "report",
        "atomic_files", "plugins", "training",
    },
    "studies": {"api", "recipes", "stages", "models", "tasks", "results", "report", "plugins", "atomic_files"},
    "playground": {"api", "plugins", "stages", "evaluation", "inference", "prompts", "prefix", "models", "tasks", "results", "report"},
    "serving": {"api", "inference", "prompts", "prefix", "results", "tasks", "row"},
    "cli": {
        "plugins", "api", "inference", "studies", "playground", "serving", "recipes", "stages", "prefix", "models", "tasks", "results",
        "report",
    },
    "__init__": {"api", "studies", "stages", "inference", "methods", "edits", "tasks", "results"},
    "__main__": {"cli"},
}  # fmt: skip
NO_TORCH = {"report", "results", "atomic_files", "tasks", "row"}
FILE_LIMIT, FUNCTION_LIMIT, PLUGIN_LIMIT = 400, 80, 200
PLUGINS = {"methods", "edits", "curation", "decoding", "analysis"}

FILES = sorted(HOUSE.rglob("*.py"))


def place(path: Path) -> str:
    """The row of the table that a file belongs to: its own, else that of the innermost folder that has one."""
    inside = path.relative_to(HOUSE)
    rows = [inside.as_posix(), *(folder.as_posix() for folder in inside.parents)]
    top = inside.parts[0] if len(inside.parts) > 1 else inside.stem
    return next((row for row in rows if row in MAY_IMPORT), top)


def place_of_module(name: str) -> str:
    """The row that an imported name belongs to, `holdfast.FOLDER.MODULE.NAME` or shorter."""
    inside = Path(*name.split(".")[1:])
    files = [HOUSE / folder.with_suffix(".py") for folder in (inside, *inside.parents) if folder.name]
    return place(next((file for file in files if file.exists()), HOUSE / inside / "__init__.py"))


@cache
def imported(path: Path) -> list[tuple[int, str]]:
    """(line, dotted name) of everything that a file imports, wherever in the file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, (
                f"{path}:{node.lineno}: relative imports hide the direction; write `from holdfast...`"
            )
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(HOUSE).as_posix())
def test_a_file_imports_only_what_its_place_may(path: Path) -> None:
    home = place(path)
    assert home in MAY_IMPORT, (
        f"{path.relative_to(HOUSE)}: its place is not in the table; see docs/design in CONTRIBUTING.md"
    )
    for line, name in imported(path):
        parts = name.split(".")
        if home.split("/")[0] in NO_TORCH:
            assert parts[0] not in {"torch", "transformers"}, f"{path}:{line}: {home} must do without {parts[0]}"
        if home == "edits":
            assert parts[0] not in {"transformers", "peft"}, f"{path}:{line}: edits see tensors and names only"
        if parts[0] != "holdfast" or len(parts) == 1:
            continue
        target = place_of_module(name)
        # From outside, a folder that is divided is one place.
        if target.split("/")[0] != home.split("/")[0]:
            target = target.split("/")[0]
        assert target == home or target in MAY_IMPORT[home], f"{path}:{line}: {home} must not import {target}"


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("holdfast.tasks.text.templates.fill", "tasks/text"),
        ("holdfast.tasks.text.templates", "tasks/text"),
        ("holdfast.tasks.task.Task", "tasks"),
        ("holdfast.tasks.sources", "tasks/sources.py"),
        ("holdfast.plugins.run_file", "plugins"),
        ("holdfast.row.Row", "row"),
    ],
)
def test_an_imported_name_belongs_to_the_innermost_row(name: str, row: str) -> None:
    assert place_of_module(name) == row


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(HOUSE).as_posix())
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    limit = PLUGIN_LIMIT if path.parent.name in PLUGINS and path.name != "__init__.py" else FILE_LIMIT
    assert text.count("\n") <= limit, f"{path}: more than {limit} lines; split it by meaning"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_LIMIT, (
                f"{path}:{node.lineno} {node.name}: {length} lines, the limit is {FUNCTION_LIMIT}"
            )


def test_no_import_cycles() -> None:
    modules = {
        ".".join(("holdfast", *p.relative_to(HOUSE).with_suffix("").parts)).removesuffix(".__init__"): p for p in FILES
    }
    graph = {
        name: {
            n for _, full in imported(path) if (n := full if full in modules else full.rpartition(".")[0]) in modules
        }
        - {name, "holdfast"}
        for name, path in modules.items()
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, "import cycle: " + " -> ".join((*path[path.index(name) :], name))
        if name not in done:
            for other in graph[name]:
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@cache
def techniques(but: str = "") -> set[str]:
    """The names of techniques and recipes: those of their files, as options take them, and those of their classes."""
    files = [path for path in FILES if path.parent.name in (PLUGINS | {"recipes"}) - {but}]
    files = [path for path in files if path.stem not in {"__init__", "base", "plan"}]
    trees = [ast.parse(path.read_text()) for path in files]
    classes = {node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}
    return {path.stem for path in files} | classes


TYPE_OF_A_MODEL = {"model_type", "architectures"}
NAME_OF_A_CLASS = {"__name__", "stage"}  # `type(method).__name__ == ...`; what a method calls its stage


def switches(text: str, names: set[str]) -> list[int]:
    """Return the lines that decide by a name: that of a technique, of a class, of a method's stage, or of a model's type."""
    lines = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            direct = {side.attr for side in sides if isinstance(side, ast.Attribute)}
            literal = any(isinstance(side, ast.Constant | ast.Tuple | ast.Set | ast.List) for side in sides)
            parts = list(ast.walk(node))
        elif isinstance(node, ast.Match):
            direct, literal = set[str](), True
            parts = [part for case in node.cases for part in ast.walk(case.pattern)]
        else:
            continue
        strings = {part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)}
        attributes = {part.attr for part in parts if isinstance(part, ast.Attribute)}
        if strings & names or TYPE_OF_A_MODEL & (strings | attributes) or (literal and NAME_OF_A_CLASS & direct):
            lines.append(node.lineno)
    return lines


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(HOUSE).as_posix())
def test_no_switch_on_a_name(path: Path) -> None:
    """An `if` on a method's or model's name belongs nowhere: a capability, or a method's own hook, decides."""
    if path == HOUSE / "models" / "loading.py":  # what a model's type means is read here, once
        return
    # An analysis is called as the measure that it takes, and numbers are told apart by their measure.
    names = techniques(but="analysis" if place(path) in ("results", "report") else "")
    assert switches(path.read_text(), names) == [], f"{path}: decides by a name in these lines"


@pytest.mark.parametrize(
    "line",
    [
        'if method == "promot": pass',
        'if "lora" != arm.method: pass',
        'if any(kind.stage == "model" for kind in kinds): pass',
        'if config.model_type == "t5": pass',
        'if getattr(config, "model_type", "") in known: pass',
        'if "T5ForConditionalGeneration" in config.architectures: pass',
        'if name in ("full", "fticl"): pass',
        'value = 1 if name in {"breadcrumbs"} else 2',
        'if type(method).__name__ == "Mine": pass',
        'match method:\n    case "promot" | "own": pass',
    ],
)
def test_a_switch_on_a_name_is_noticed(line: str) -> None:
    assert switches(line, techniques()) == [1]


@pytest.mark.parametrize(
    "line",
    [
        'if prompt == "on": pass',
        "if method.moves_the_model: pass",
        'row = {"method": "promot"}',
        "if stage == last: pass",
    ],
)
def test_what_is_no_switch_on_a_name_passes(line: str) -> None:
    assert switches(line, techniques()) == []
