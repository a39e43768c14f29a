"""DESIGN's import directions and sizes, read from the files themselves: no import, no exceptions list."""

import ast
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1] / "holdfast"

# place -> the places it may import. A place is a top-level file or folder of holdfast/, or a file named in full.
MAY_IMPORT: dict[str, set[str]] = {
    "row": set(),
    "plugins": set(),
    "atomic_files": set(),
    "weights": set(),
    "tasks": {"row", "atomic_files"},
    "tasks/sources.py": {"tasks", "lab"},
    "results": {"atomic_files", "tasks"},
    "lab": {"atomic_files", "tasks"},
    "lab/export.py": {"lab", "models"},
    "models": {"weights", "row", "lab", "tasks", "atomic_files"},
    "prefix": {"models", "row"},
    "prompts": {"prefix", "models", "row", "atomic_files"},
    "inference": {"prompts", "prefix", "models", "tasks", "row"},
    "analysis": {"plugins", "inference", "prefix", "models", "tasks", "row", "weights"},
    "decoding": {"inference", "prefix", "models", "tasks", "row", "plugins"},
    "curation": {"inference", "tasks", "row", "plugins"},
    "methods": {"inference", "prompts", "prefix", "models", "tasks", "row", "plugins", "weights"},
    "edits": {"plugins", "weights"},
    "training": {"methods", "prefix", "models", "row", "atomic_files"},
    "evaluation": {"decoding", "inference", "prompts", "prefix", "models", "tasks", "results", "row", "atomic_files"},
    "stages": {
        "training", "evaluation", "methods", "curation", "edits", "decoding", "analysis", "inference", "prompts", "prefix", "models",
        "weights", "tasks", "results", "row", "plugins", "atomic_files",
    },
    "recipes": {"curation", "decoding", "edits", "stages", "training", "methods", "tasks", "plugins"},
    "report": {"results", "atomic_files"},
    "api": {
        "recipes", "stages", "evaluation", "decoding", "inference", "prompts", "prefix", "models", "lab", "tasks", "results", "report",
        "atomic_files", "plugins", "training",
    },
    "studies": {"api", "recipes", "stages", "models", "tasks", "results", "report", "plugins", "atomic_files"},
    "playground": {"api", "plugins", "stages", "evaluation", "inference", "prompts", "prefix", "models", "tasks", "results", "report"},
    "cli": {"plugins", "api", "inference", "studies", "playground", "recipes", "stages", "prefix", "models", "tasks", "results", "report"},
    "__init__": {"api", "studies", "stages", "inference", "methods", "edits", "tasks", "results"},
    "__main__": {"cli"},
}  # fmt: skip
NO_TORCH = {"report", "results", "atomic_files", "tasks", "row"}
FILE_LIMIT, FUNCTION_LIMIT, PLUGIN_LIMIT = 400, 80, 200
PLUGINS = {"methods", "edits", "curation", "decoding", "analysis"}

FILES = sorted(HOUSE.rglob("*.py"))


def place(path: Path) -> str:
    """The row of the table that a file belongs to."""
    inside = path.relative_to(HOUSE)
    if inside.as_posix() in MAY_IMPORT:
        return inside.as_posix()
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


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
        if home in NO_TORCH:
            assert parts[0] not in {"torch", "transformers"}, f"{path}:{line}: {home} must do without {parts[0]}"
        if home == "edits":
            assert parts[0] not in {"transformers", "peft"}, f"{path}:{line}: edits see tensors and names only"
        if parts[0] != "holdfast" or len(parts) == 1:
            continue
        target = parts[1]
        assert target == home.split("/")[0] or target in MAY_IMPORT[home], (
            f"{path}:{line}: {home} must not import {target}"
        )


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


def test_no_switch_on_a_name() -> None:
    """An `if` on a method's or model's name belongs nowhere: capability, or a method's own hook, decides."""
    for path in FILES:
        if path.relative_to(HOUSE).as_posix() == "models/loading.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare) and isinstance(node.left, ast.Attribute):
                assert node.left.attr not in {"model_type", "method_name"}, f"{path}:{node.lineno}: decides by a name"
