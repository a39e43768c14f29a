"""Ctrl-C between two steps, not inside one."""

import signal
import threading
from types import FrameType


class Interrupt:
    """While active, the first Ctrl-C only sets `requested`, so that the loop can write a checkpoint; the second is obeyed at once."""

    def __init__(self) -> None:
        self.requested = False
        self._main = threading.current_thread() is threading.main_thread()
        self._before = signal.getsignal(signal.SIGINT)

    def __enter__(self) -> "Interrupt":
        if self._main:  # Python lets no other thread set a signal's handler.
            signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def __exit__(self, *_: object) -> None:
        if self._main:
            signal.signal(signal.SIGINT, self._before)
