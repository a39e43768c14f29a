"""Templates that would take gigabytes or for ever end at once, in one line; those of real tasks are not touched."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from holdfast.tasks.jinja import compile_template, evaluate, fill

FIELDS: dict[str, Any] = {"input": "a", "items": [1, 2, 3], "turns": [{"role": "user", "content": "x"}]}
GREEDY = [
    "{{ 'a' * 10**10 }}",
    "{{ 'a' * 10**9 }}",
    "{{ 10**9 * 'a' }}",
    "{{ [0] * 10**10 }}",
    "{{ 9 ** (9 ** 9) }}",
    "{{ '%1000000000d' | format(1) }}",
    "{{ '%*d' | format(1000000000, 1) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '{:1000000000}'.format(1) }}",
    "{{ '{:{}}'.format(1, 1000000000) }}",
    "{{ '{x:1000000000}'.format_map({'x': 1}) }}",
    "{{ 'a'.ljust(10**10) }}",
    "{{ 'a'.zfill(1000000000) }}",
    "{{ '\t'.expandtabs(1000000000) }}",
    "{{ (1).to_bytes(1000000000, 'big') }}",
    "{{ 'a' | center(1000000000) }}",
    "{{ 'a\nb' | indent(1000000000) }}",
    "{{ [1] | batch(1000000000, 'x') | list }}",
    "{{ items | tojson(indent=1000000000) }}",
    "{{ ('a' * 5000000).replace('a', 'b' * 5000000) }}",
    "{{ ('a' * 5000000) | replace('a', 'b' * 5000000) }}",
    "{{ ('b' * 5000000).join(['a'] * 100000) }}",
    "{{ (['a'] * 100000) | join('b' * 5000000) }}",
    "{{ ['a'] | map('center', 1000000000) | list }}",
    "{{ lipsum(n=10000000) }}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{{ i }}{% endfor %}{% endfor %}",
    "{% set n = namespace(t='aaaaaaaa') %}{% for i in range(60) %}{% set n.t = n.t ~ n.t %}{% endfor %}{{ n.t }}",
    "{% set n = namespace(t='aaaaaaaa') %}{% for i in range(60) %}{% set n.t = n.t + n.t %}{% endfor %}{{ n.t }}",
    "{% set n = namespace(t=[1]) %}{% for i in range(60) %}{% set n.t = n.t + n.t %}{% endfor %}{{ n.t }}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "{% for i in [1] recursive %}{{ loop([1, 1, 1, 1]) if loop.depth < 40 }}{% endfor %}",
    "{% set a0 = 'aaaaaaaa' %}" + "".join(f"{{% set a{i} %}}{{{{ a{i - 1} }}}}{{{{ a{i - 1} }}}}{{% endset %}}" for i in range(1, 50)),
    "{{ " + "[" * 500 + "]" * 500 + " }}",
    "{{ " + "-" * 3000 + "1 }}",
    "{{ " + "1+" * 20000 + "1 }}",
    "{{ " + "a" * (2 << 20) + " }}",
]  # fmt: skip


@contextmanager
def memory_of(size: int) -> Iterator[None]:
    """Let this process have `size` more bytes than it has: what asks for more gets a MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("text", GREEDY, ids=[text[:60] for text in GREEDY])
def test_a_greedy_template_ends_in_one_line_soon_and_small(text: str) -> None:
    began = time.monotonic()
    with memory_of(600 << 20), pytest.raises(ValueError, match=r"template|range|lipsum") as refused:
        fill(text, FIELDS)
    # Without bounds each takes gigabytes or does not end; a busy machine counts to the bound in some seconds.
    assert time.monotonic() - began < 60, "endless"
    assert "MemoryError" not in str(refused.value), "greedy"
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize(
    "text", ["'a' * 10**10", "[0] * 10**10", "'%1000000000d' | format(1)", "9 ** (9 ** 9)", "[" * 500 + "]" * 500]
)
def test_an_expression_is_bounded_as_well(text: str) -> None:
    with pytest.raises(ValueError, match=r"template|compiled"):
        evaluate(text, FIELDS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ 'a' * 3 + 'b' }}", "aaab"),
        ("{{ 2 ** 10 }} {{ 7 % 4 }} {{ '%03d' % 7 }}", "1024 3 007"),
        ("{{ items | join(', ') }} {{ 'a-b'.replace('-', '+') | upper }}", "1, 2, 3 A+B"),
        ("{{ 'x' ~ 1 ~ none_or ~ 2.5 }}", "x1n2.5"),
        ("{% for i in items %}{{ loop.index }}/{{ loop.length }}{{ '' if loop.last else ',' }}{% else %}-{% endfor %}", "1/3,2/3,3/3"),
        ("{% for t in turns %}{{ t.role | capitalize }}: {{ t['content'] | trim }}{% endfor %}", "User: x"),
        ("{% macro m(a) %}<{{ a }}>{% endmacro %}{{ m(1) }}{{ m(2) }}", "<1><2>"),
        ("{{ '%s and %5.2f' | format('a', 1.5) }} {{ '{:>4}|{}'.format(1, 2) }}", "a and  1.50    1|2"),
        ("{{ 'a\nb' | indent(2) }} {{ 'a' | center(5) }}|{{ items | tojson }}", "a\n  b   a  |[1, 2, 3]"),
        ("{{ [1, 2, 3] | batch(2) | list }} {{ items + [4] }} {{ 12345678 }}", "[[1, 2], [3]] [1, 2, 3, 4] 12345678"),
        ("{{ 'The count is %d' % 123456789 }} {{ 123456789 * 10 }}", "The count is 123456789 1234567890"),
    ],
)  # fmt: skip
def test_ordinary_templates_are_written_as_before(text: str, expected: str) -> None:
    assert fill(text, {**FIELDS, "none_or": "n"}) == expected


def test_a_long_input_is_written_whole() -> None:
    long = "word " * 2_000_000  # 10 MB
    assert fill("{{ input | trim }}\nAnswer:", {"input": long}) == long.strip() + "\nAnswer:"


def test_many_examples_each_have_their_own_account() -> None:
    compile_template("{% for i in items %}{{ i }}{% endfor %}")
    for _ in range(30):
        assert len(fill("{% for i in items %}{{ i }}{% endfor %}", {"items": ["x" * 1_000_000] * 3})) == 3_000_000
