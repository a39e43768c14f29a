"""What works on one system only stands where another is thought of: no macOS or Windows runs these tests, so the text is checked."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "holdfast").rglob("*.py"))
# Modules and names that Windows lacks. Inside `try: import ... except ImportError` a module may be absent.
MODULES = {"crypt", "fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "spwd", "syslog", "termios", "tty"}
NAMES = {
    "os": {"fork", "forkpty", "getloadavg", "getpgid", "getuid", "geteuid", "killpg", "mkfifo", "nice", "posix_fadvise",
           "sched_getaffinity", "setsid", "sync", "sysconf", "uname", "wait", "waitid"},
    "signal": {"SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGUSR1", "SIGUSR2", "alarm", "pause", "setitimer"},
    "time": {"tzset"},
}  # fmt: skip
ROOTS = ("/proc", "/tmp", "/dev", "/sys", "/etc", "/usr", "/var", "/home", "~/.")
# Reviewed: each is read where it exists, and is nothing but absent elsewhere.
REVIEWED = {("holdfast/training/memory.py", "/sys/fs/cgroup")}


def faults(source: str, name: str = "file.py") -> list[str]:
    """Return what of a file works on one system only, each as `line: what`."""
    return [f"{name}:{line}: {what}" for line, what in sorted(set(_faults(ast.parse(source), name)))]


def _faults(tree: ast.Module, name: str) -> Iterator[tuple[int, str]]:
    guarded = {id(inner) for node in ast.walk(tree) if _catches_imports(node) for inner in ast.walk(node)}
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in guarded:
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from ((node.lineno, f"imports {module}") for module in modules if module in MODULES)
        elif isinstance(node, ast.Attribute) and node.attr in NAMES.get(ast.unparse(node.value), set()):
            yield node.lineno, f"uses {ast.unparse(node)}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            if node.value.startswith(ROOTS) and (name, node.value) not in REVIEWED:
                yield node.lineno, f"has the path {node.value}"
        elif isinstance(node, ast.Call):
            yield from _calls(node)


def _calls(node: ast.Call) -> Iterator[tuple[int, str]]:
    method = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    keywords = {keyword.arg for keyword in node.keywords}
    on_path = isinstance(node.func, ast.Attribute)
    # The encoding of a text file is by default that of the system: not UTF-8 on Windows, and then no letter outside ASCII survives.
    if method in ("read_text", "write_text") and on_path and "encoding" not in keywords:
        yield node.lineno, f"{method} without encoding"
    if method == "open" and "encoding" not in keywords and _is_text(node, on_path):
        yield node.lineno, "open without encoding"
    if method == "rename" and on_path and len(node.args) == 1 and not keywords:
        yield node.lineno, "rename, which fails on Windows where the name is taken; replace"
    if method == "NamedTemporaryFile" and "delete" not in keywords:
        yield node.lineno, "NamedTemporaryFile, which Windows lets nobody open again; TemporaryDirectory"
    if {"preexec_fn", "start_new_session"} & keywords or any(k.arg == "shell" for k in node.keywords):
        yield node.lineno, "a process started as POSIX starts one"


OF_OPEN = {"mode", "encoding", "errors", "newline", "buffering", "closefd", "opener"}


def _is_text(node: ast.Call, on_path: bool) -> bool:
    """Return whether a call opens a file as text; a call of another `open` has other arguments."""
    if on_path and ast.unparse(node.func).split(".")[0] in ("os", "gzip", "tarfile", "zipfile", "webbrowser", "Image"):
        return False
    if {keyword.arg for keyword in node.keywords} - OF_OPEN:
        return False  # `prefix.open(rows=2)`: an encoding there would be an error, or worse, be taken for a model that refuses.
    mode = node.args[0 if on_path else 1 : 2]
    modes = [*mode, *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
    if on_path and modes and not isinstance(modes[0], ast.Constant):
        return False  # `talk.open(question)`: no mode of a file.
    return not modes or (isinstance(modes[0], ast.Constant) and "b" not in str(modes[0].value))


def _catches_imports(node: ast.AST) -> bool:
    return isinstance(node, ast.Try) and any(
        handler.type is not None and "ImportError" in ast.unparse(handler.type) for handler in node.handlers
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_works_on_one_system_only(path: Path) -> None:
    assert faults(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()) == []


WRONG = """
import fcntl
from resource import getrusage
os.fork()
signal.SIGKILL
open('x')
open('x', 'w')
path.open()
path.open('a')
path.read_text()
path.write_text('x')
path.rename(other)
x = '/tmp/y'
Path('/proc/meminfo')
run(command, shell=True)
run(command, preexec_fn=f)
tempfile.NamedTemporaryFile()
"""
RIGHT = """
try:
    import fcntl
except ImportError:
    fcntl = None
open('x', 'rb')
path.open('rb')
open('x', encoding='utf-8')
path.read_text(encoding='utf-8')
write_text(path, 'x')
path.replace(other)
talk.open(question.pop(0))
prefix.open(rows=2, room=3)
os.replace(a, b)
"""


@pytest.mark.parametrize("line", WRONG.split("\n")[1:-1])
def test_each_of_these_lines_is_reported(line: str) -> None:
    assert len(faults(line)) == 1


def test_none_of_these_lines_is_reported() -> None:
    assert faults(RIGHT) == []
