"""A Jinja sandbox that also bounds time and memory: forty bytes of template can ask for gigabytes, or loop for ever.

Work is counted while a template is compiled or rendered: turns of loops, calls, and the length of every value that is made or printed.
"""

import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from jinja2 import Template, nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

MOST_WORK = (
    1 << 26
)  # characters that one rendering may make in all; a turn of a loop and a call count as so many of them
TURN, CALL = 64, 1024
LONGEST = 1 << 24  # characters, or entries, of one value
DIGITS = 4300  # of a whole number, where Python itself stops writing them
MOST_SOURCE = 1 << 20  # characters of a template
SIZED = frozenset({"center", "expandtabs", "ljust", "rjust", "to_bytes", "zfill"})  # methods whose number is a length
SIZED_FILTERS = ("batch", "center", "indent", "slice", "tojson", "truncate", "wordwrap")
TEXT_FILTERS = ("format", "replace", "join")
UNSAFE_WIDTH = re.compile(r"\d{7}|\*")  # of `%9999999d` and `{:9999999}`, or one that is an argument

_state = threading.local()


class TooMuch(ValueError):
    """A template makes more, or takes longer, than any prompt needs."""


@contextmanager
def counted() -> Iterator[None]:
    """Count the work within the context; within another one, it goes to that one's account."""
    if getattr(_state, "left", None) is not None:
        yield
        return
    _state.left = MOST_WORK
    try:
        yield
    finally:
        _state.left = None


def _spend(work: int) -> None:
    left = getattr(_state, "left", None)
    if left is None:
        return
    if work > left:
        raise TooMuch("the template loops or writes without an end in sight; make it shorter")
    _state.left = left - work


def _sized(size: float) -> None:
    """Refuse a value before it is made."""
    if size > LONGEST:
        raise TooMuch(f"the template makes a value longer than {LONGEST:,} characters or entries; make it shorter")


def _count(value: Any) -> Any:
    """Count a value that was made, and return it."""
    _spend(len(value) if isinstance(value, str | bytes | list | tuple) else 1)
    return value


def _turns(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        _spend(TURN)
        yield value


def _joined(parts: Iterable[Any]) -> str:
    texts = [str(part) for part in parts]
    _sized(sum(map(len, texts)))
    return _count("".join(texts))


def _check_widths(text: Any, arguments: Iterable[Any]) -> None:
    """Refuse a format whose widths are larger than any text needs, or are themselves arguments and large."""
    wide = isinstance(text, str) and UNSAFE_WIDTH.search(text)
    nested = isinstance(text, str) and re.search(r"\{[^}]*\{", text)
    large = any(isinstance(argument, int) and abs(argument) > 10**6 for argument in arguments)
    if wide or (nested and large):
        raise TooMuch("the template formats to a width of millions; make it shorter")


def _check_method(value: Any, name: str, arguments: tuple[Any, ...]) -> None:
    """Refuse a method of a text or number that would make a huge one."""
    if name in SIZED and any(isinstance(argument, int) for argument in arguments):
        _sized(max(argument for argument in arguments if isinstance(argument, int)))
    elif name == "replace" and len(arguments) > 1 and isinstance(value, str | bytes):
        old, new = arguments[0], arguments[1]
        if isinstance(old, type(value)) and isinstance(new, type(value)):
            count = value.count(old) if old else len(value) + 1  # pyright: ignore[reportArgumentType]
            _sized(len(value) + count * len(new))
    elif name == "join" and arguments and isinstance(arguments[0], list | tuple | range | str):
        _sized(len(arguments[0]) * len(value) + sum(len(part) for part in arguments[0] if isinstance(part, str)))


class BoundedTemplate(Template):
    """A template whose rendering counts its work."""

    def render(self, *args: Any, **fields: Any) -> str:
        with counted():
            return super().render(*args, **fields)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's immutable sandbox, in which every rendering and compilation ends soon and stays small."""

    template_class = BoundedTemplate
    # Operators that are intercepted are not worked out when a template is compiled, either.
    intercepted_binops = frozenset({"*", "**", "%", "+"})

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.globals.pop("lipsum", None)  # It writes as much text as it is asked for.
        self.filters["_turns"], self.filters["_joined"] = _turns, _joined
        before = self.finalize
        self.finalize = lambda value: _count(value if before is None else before(value))

    def from_string(self, source: Any, *args: Any, **options: Any) -> Template:
        """Compile a template; its constants are worked out here.

        Raises:
            ValueError: it is too long, or not of a depth that can be compiled.
        """
        if isinstance(source, str) and len(source) > MOST_SOURCE:
            raise TooMuch(f"the template is longer than {MOST_SOURCE:,} characters; make it shorter")
        # Here and not where the environment is made: transformers puts filters of its own in afterwards.
        for name in (*SIZED_FILTERS, *TEXT_FILTERS):
            if not hasattr(function := self.filters[name], "bounded"):
                self.filters[name] = _sized_filter(function) if name in SIZED_FILTERS else _text_filter(name, function)
        with counted():
            try:
                return super().from_string(source, *args, **options)
            except (RecursionError, MemoryError) as error:
                raise TooMuch("the template is nested too deeply; flatten it") from error

    def _generate(self, source: Any, *args: Any, **options: Any) -> str:
        """Count the turns of every loop, and the length of every `~`."""
        for node in source.find_all((nodes.For, nodes.Concat)):
            if isinstance(node, nodes.For):
                node.iter = nodes.Filter(node.iter, "_turns", [], [], None, None, lineno=node.lineno)
        return super()._generate(_without_concat(source), *args, **options)

    def call(__self, __context: Context, __function: Any, *args: Any, **options: Any) -> Any:
        """Call a function of a template, at a cost."""
        _spend(CALL)
        owner, name = getattr(__function, "__self__", None), getattr(__function, "__name__", "")
        if isinstance(owner, str | bytes | int):
            _check_method(owner, name, (*args, *options.values()))
        return _count(super().call(__context, __function, *args, **options))

    def wrap_str_format(self, value: Any) -> Any:
        """Check the widths of `str.format`."""
        wrapper = super().wrap_str_format(value)
        if wrapper is None:
            return None

        def checked(*args: Any, **fields: Any) -> str:
            _check_widths(value.__self__, (*args, *fields.values()))
            return wrapper(*args, **fields)

        return checked

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Work out an operator whose result may be huge."""
        lengths = [len(v) for v in (left, right) if isinstance(v, str | bytes | list | tuple)]
        bits = [v.bit_length() for v in (left, right) if isinstance(v, int)]
        if operator == "*" and lengths and bits:
            _sized(lengths[0] * max(left if isinstance(left, int) else right, 0))
        elif operator == "+":
            _sized(sum(lengths))
        elif operator == "%" and isinstance(left, str | bytes):
            _check_widths(left if isinstance(left, str) else left.decode("latin-1"), ())
        elif len(bits) == 2 and {"*": sum(bits), "**": bits[0] * max(right, 0)}.get(operator, 0) > 4 * DIGITS:
            raise TooMuch("the template computes a number of thousands of digits; make it smaller")
        return _count(super().call_binop(context, operator, left, right))


def _without_concat(source: nodes.Node) -> Any:
    """Return a tree in which `a ~ b` is a filter that knows the length of what it makes."""
    for field, value in list(source.iter_fields()):
        if isinstance(value, nodes.Node):
            setattr(source, field, _without_concat(value))
        elif isinstance(value, list):
            setattr(source, field, [_without_concat(v) if isinstance(v, nodes.Node) else v for v in value])
    if isinstance(source, nodes.Concat):
        parts = nodes.List(source.nodes, lineno=source.lineno)
        return nodes.Filter(parts, "_joined", [], [], None, None, lineno=source.lineno)
    return source


def _sized_filter(function: Any) -> Any:
    """Return a filter that refuses numbers which no text needs as a width or a count."""

    def bounded(*args: Any, **options: Any) -> Any:
        numbers = [v for v in (*args[1:], *options.values()) if isinstance(v, int)]
        _sized(max(map(abs, numbers), default=0) * 16)  # An indentation stands before every line.
        return _count(function(*args, **options))

    return _like(bounded, function)


def _text_filter(name: str, function: Any) -> Any:
    """Return the filter `format`, `replace` or `join` with its result's length worked out beforehand."""

    def bounded(*args: Any, **options: Any) -> Any:
        # Some take the environment or its context first.
        passed = getattr(function, "jinja_pass_arg", None) is not None
        value, *others = args[1:] if passed else args
        values = (*others, *options.values())
        if name == "format":
            _check_widths(str(value), values)
        elif name == "replace":
            _check_method(str(value), name, tuple(map(str, values[:2])))
        else:
            parts = [*value]
            _sized(len(str(values[0] if values else "")) * len(parts) + sum(len(str(part)) for part in parts))
            args = (args[0], parts, *others) if passed else (parts, *others)
        return _count(function(*args, **options))

    return _like(bounded, function)


def _like(bounded: Any, function: Any) -> Any:
    bounded.bounded = True
    # Jinja reads from the function whether it wants the environment, the context or none.
    if (passed := getattr(function, "jinja_pass_arg", None)) is not None:
        bounded.jinja_pass_arg = passed
    return bounded
