"""Run a program that a model wrote, in a process of its own with limits of time, memory and files.

The limits stop programs that go on for ever, fill the memory or the disk. They are no wall: the process has the user's rights, and sees
the network and the files that the user sees. So nothing runs unless the user allows it by an environment variable.
"""

import os
import secrets
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

ALLOW = "HF_ALLOW_CODE_EVAL"  # as `evaluate` and the lm-evaluation-harness name it
SECONDS = 5
MEMORY = 512 * 2**20  # bytes of address space; Python itself takes a tenth of it
FILE = 2**20  # bytes of the largest file

# It sets its limits itself, before the program begins: no code of ours runs between fork and exec, where threads of torch could hold
# locks. The program runs in a child, and whatever that starts ends with its group. The word comes on standard input and is written at the
# end, so that a program that exits early has not passed.
START = """
import os, resource, signal, sys
word = sys.stdin.read()
seconds, memory, file = map(int, sys.argv[1:4])
os.setsid()
child = os.fork()
if child:
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(0, signal.SIGKILL))
    signal.alarm(2 * seconds)
    os.waitpid(child, 0)
    os.killpg(0, signal.SIGKILL)
for what, most in ((resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, file),
                   (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 64)):
    resource.setrlimit(what, (most, most))
with open(sys.argv[4], encoding="utf-8") as source:
    program = compile(source.read(), "program", "exec")
report = os.dup(1)
exec(program, {"__name__": "__main__"})
os.write(report, word.encode())
"""


def check_allowed() -> None:
    """Refuse to run what a model wrote where the user has not allowed it, or where there are no limits.

    Raises:
        ValueError: as above.
    """
    if os.environ.get(ALLOW) != "1":
        raise ValueError(
            f"the metric pass@1 runs programs that a model wrote, with your rights; set {ALLOW}=1 to allow it"
        )
    if sys.platform == "win32":
        raise ValueError(
            "the metric pass@1 needs limits of time and memory that this system does not have; use Linux or macOS"
        )


@lru_cache(maxsize=4096)
def runs(program: str, seconds: int = SECONDS, memory: int = MEMORY) -> bool:
    """Return whether a Python program ends without an error within the limits; each is run once.

    It runs in an empty folder, without the packages of this environment and without its variables.
    """
    check_allowed()
    word = secrets.token_hex(16)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "program.py"
        source.write_text(program, encoding="utf-8", errors="replace")
        command = [sys.executable, "-I", "-S", "-B", "-c", START, str(seconds), str(memory), str(FILE), str(source)]
        with (Path(folder) / "out").open("w+b") as out, suppress(subprocess.TimeoutExpired):
            subprocess.run(
                command, cwd=folder, env={}, input=word.encode(), stdout=out, stderr=subprocess.DEVNULL, timeout=4 * seconds, check=False
            )  # fmt: skip
            out.seek(0)
            return word.encode() in out.read(FILE)
    return False
