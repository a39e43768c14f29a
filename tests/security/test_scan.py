"""The package runs no code that a file brings: no pickle, no eval, no remote code, no YAML objects; read from its syntax."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2] / "holdfast"
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "yaml.unsafe_load",
    "yaml.full_load",
    "torch.jit.load",
}
# The one place that runs a user's own file, which whoever gives the command has named (`plugins.refuse_code`).
MAY_RUN = {"plugins/user_code.py: spec.loader.exec_module"}


def faults(text: str) -> Iterator[tuple[int, str]]:
    """Yield what could run code that stands in data."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name.partition(".")[0] for alias in node.names}
            names |= {(node.module or "").partition(".")[0]} if isinstance(node, ast.ImportFrom) else set()
            for name in sorted(names & MODULES):
                yield node.lineno, f"import {name}"
        if not isinstance(node, ast.Call):
            continue
        called, options = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
        if called in CALLS or called.endswith(".exec_module"):
            yield node.lineno, called
        if called == "torch.load" and options.get("weights_only") != "True":
            yield node.lineno, "torch.load without weights_only=True"
        if called == "yaml.load" and "LOADER" not in ast.unparse(node):
            yield node.lineno, "yaml.load"
        if options.get("trust_remote_code") == "True" or options.get("allow_pickle") == "True":
            yield node.lineno, "trust_remote_code or allow_pickle"
        if options.get("shell") == "True":
            yield node.lineno, "shell=True"


@pytest.mark.parametrize("path", sorted(HOUSE.rglob("*.py")), ids=lambda path: path.relative_to(HOUSE).as_posix())
def test_no_file_of_the_package_runs_code_from_data(path: Path) -> None:
    name = path.relative_to(HOUSE).as_posix()
    assert [
        f"{name}:{line}: {fault}" for line, fault in faults(path.read_text()) if f"{name}: {fault}" not in MAY_RUN
    ] == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "eval(text)",
        "exec(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "yaml.load(text, yaml.Loader)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(text, shell=True)",
        "os.system(text)",
        "spec.loader.exec_module(module)",
    ],
)
def test_a_planted_call_is_seen(line: str) -> None:
    assert len(list(faults(line))) == 1


@pytest.mark.parametrize(
    "line", ["torch.load(path, weights_only=True)", "literal_eval(text)", "re.compile(text)", "yaml.load(text, LOADER)", "model.eval()"]
)  # fmt: skip
def test_what_runs_nothing_passes(line: str) -> None:
    assert list(faults(line)) == []


def test_the_yaml_loader_makes_plain_data_alone() -> None:
    import yaml

    from holdfast.tasks.yaml_files import LOADER, parse_yaml

    assert issubclass(LOADER, yaml.constructor.SafeConstructor)
    with pytest.raises(yaml.YAMLError, match="could not determine a constructor"):
        parse_yaml("a: !!python/object/apply:os.system ['true']")
