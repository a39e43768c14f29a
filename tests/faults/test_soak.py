"""The measure of the soak test itself: a process that grows would be seen. The soak itself is `make soak`."""

import pytest

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
