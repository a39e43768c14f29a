"""The measure of the soak test itself: a process that grows would be seen. The soak itself is `make soak`."""

from collections.abc import Callable

import pytest

from tests.faults import soak_server
from tests.faults.soak import LEAK, Look, growth, look


def test_a_leak_is_seen_and_noise_is_not() -> None:
    noise = [Look(n, 500 + 5 * (n % 3), 6, 2, 0) for n in range(60)]
    leak = [Look(n, 500 + 5 * (n % 3) + 2 * LEAK * n, 6, 2, 0) for n in range(60)]
    warm = [Look(n, 500 + 200 * min(n, 8), 6, 2, 0) for n in range(60)]
    assert abs(growth(noise)) < LEAK / 2
    assert growth(leak) == pytest.approx(2 * LEAK, rel=0.2)
    assert abs(growth(warm)) < LEAK


def test_this_process_is_looked_at() -> None:
    held = bytearray(64 << 20)
    with_it = look(0)
    held[::4096] = b"x" * len(held[::4096])
    touched = look(1)
    assert touched.memory - with_it.memory > 40 or with_it.memory > 64
    assert touched.files > 0
    assert touched.threads > 0


@pytest.mark.parametrize(
    ("leaking", "words"),
    [
        (lambda n: Look(100 * n, 400 + 0.2 * n, 9, 3, 1), "memory grows by 2.00 MB per 1,000 requests"),
        (lambda n: Look(100 * n, 400, 9 + n // 3, 3, 1), "files: 12 at most in the first half, 13 at least in the second"),
        (lambda n: Look(100 * n, 400, 9, 3 + n, 1), "threads: "),
        (lambda n: Look(100 * n, 400, 9, 3, n), "temporary: "),
    ],
)  # fmt: skip
def test_a_server_that_leaks_is_called_so(leaking: Callable[[int], Look], words: str) -> None:
    """The load on a server itself is `make serve-load`."""
    load = soak_server.Load("", "", {}, 0.0)
    wander = [Look(100 * n, 400 + n % 2, 9 + n % 3, 3 + n % 2, 1) for n in range(20)]
    assert soak_server.faults(wander, load) == []
    (fault,) = soak_server.faults([leaking(n) for n in range(20)], load)
    assert fault.startswith(words)
    load.faults.append("whole: AssertionError")
    assert "1 requests went wrong, the first: whole" in soak_server.faults(wander, load)[0]
