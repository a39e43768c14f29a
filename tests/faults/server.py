"""Run commands of holdfast in forked processes, and kill them: importing torch takes seconds, and two hundred kills need it once.

One JSON object a line comes in (`Job`), and one goes out (`Ended`). A child dies where the job says: by SIGKILL before its n-th change
or opening of a file below `root`, or by the kernel once it has used so much processor time (SIGPROF, whose default is to end the process
at once): no handler and no `finally` runs in either case.
"""

import json
import os
import shutil
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FILE_EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate"}


@dataclass
class Job:
    """A command of the command line, the folder below which file operations count, and the moment of its death, if any."""

    argv: list[str]
    root: str
    log: str
    event: int = 0
    seconds: float = 0.0
    # In the place of a death, at that operation: an error of the system, which lasts; signals; a path that goes; a clock that jumps.
    error: int = 0
    interrupts: int = 0
    remove: str = ""
    jump: float = 0.0


@dataclass
class Ended:
    """The exit code, or minus the number of the signal; the processor seconds; and the file operations of a child that lived."""

    code: int
    seconds: float
    events: int = 0


def run(job: Job) -> Ended:
    """Run a job in a child and wait for it."""
    count = Path(job.log).with_suffix(".events")
    count.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        _child(job, count)
    _, status, usage = os.wait4(child, 0)
    code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    return Ended(code, usage.ru_utime + usage.ru_stime, int(count.read_text()) if count.exists() else 0)


def _child(job: Job, count: Path) -> None:
    code = 70
    try:
        log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.argv = ["holdfast", *job.argv]
        # A shell that starts this in the background lets it ignore Ctrl-C, and then nothing would be interrupted here.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        events = 0

        def note(event: str, args: tuple[Any, ...]) -> None:
            nonlocal events
            if event in FILE_EVENTS and any(str(arg).startswith(job.root) for arg in args[:2]):
                events += 1
                if job.event and events >= job.event:
                    _strike(job, events - job.event, args)

        sys.addaudithook(note)
        if job.seconds:
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_PROF, job.seconds)
        from holdfast.cli import app

        try:
            app.main()
            code = 0
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 1
        signal.setitimer(signal.ITIMER_PROF, 0)
        count.write_text(str(events))
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _strike(job: Job, later: int, args: tuple[Any, ...]) -> None:
    """Do to this process what its job says, `later` operations after the first one that it is done to."""
    if job.error:
        raise OSError(job.error, os.strerror(job.error), str(args[0]))
    if job.interrupts and later < job.interrupts:
        signal.raise_signal(signal.SIGINT)
    elif job.remove and not later:
        shutil.rmtree(job.remove)
    elif job.jump and not later:
        honest = time.time
        time.time = lambda: honest() + job.jump
    elif not (job.interrupts or job.remove or job.jump):
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Import everything once, then serve jobs until stdin ends."""
    import torch

    torch.set_num_threads(1)
    import holdfast.api.edit
    import holdfast.api.evaluate
    import holdfast.api.tune
    import holdfast.cli.app
    import holdfast.studies.runner  # noqa: F401
    from holdfast import plugins

    for family in (plugins.METHODS, plugins.RECIPES, plugins.CURATIONS, plugins.EDITS):
        plugins.members(family)
    for line in sys.stdin:
        print(json.dumps(asdict(run(Job(**json.loads(line))))), flush=True)


if __name__ == "__main__":
    main()
