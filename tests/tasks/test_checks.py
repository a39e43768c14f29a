"""Checks of an answer that a program makes, at their borders."""

import pytest

from holdfast.tasks.checks import CHECKS, EXAMPLES, passes


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        ("words 3", ("a big house", " deep  blue water. "), ("", "two words", "one two three four")),
        ("words 4-5", ("a b c d", "a b c d e"), ("a b c", "a b c d e f")),
        ("contains river", ("The River is deep.", "river"), ("rivers", "a driver", "")),
        ("repeats 2 night", ("night night", "Night, night!"), ("night", "night night night", "nights night")),
        ("begins R", ("river", "Rome"), ("a river", "")),
        ("ends river", ("the old river.", "the old River"), ("the river bank", "")),
        ("ends !", ("Look!", "Look at this !"), ("Look.", "Look!?", "")),
        ("upper", ("RIVER", "RIVER 2"), ("River", "", "12")),
        ("lower", ("river bank", "river 2"), ("River", "", "12")),
        ('equals "river"', ('"river"', ' "river" '), ("river", '"River"', "'river'")),
        ("list a, b, c", ("a, b, c", "A,b, c."), ("a, c, b", "a b c", "a, b", "a, b, c, d", "")),
        ('json {"a": 1, "b": "Rome"}',
         ('{"a": 1, "b": "Rome"}', '{"b":"rome ","a":1}', '{\n "a": 1,\n "b": "Rome"\n}', '{"a": 1, "b": "Rome"}\nText: next'),
         ('{"a": 1}', '{"a": "1", "b": "Rome"}', '{"a": true, "b": "Rome"}', '{"a": 1, "b": "Rome"', '{"a": 1, "b": "Rome"} or so',
          'It is {"a": 1, "b": "Rome"}', "a: 1", "")),
    ],
)  # fmt: skip
def test_a_check_tells_right_from_wrong(check: str, right: tuple[str, ...], wrong: tuple[str, ...]) -> None:
    assert [answer for answer in right if not passes(answer, [check])] == []
    assert [answer for answer in wrong if passes(answer, [check])] == []


def test_all_checks_must_pass() -> None:
    assert passes("RIVER", ["upper", "words 1"])
    assert not passes("RIVER BANK", ["upper", "words 1"])
    assert not passes("river", ["upper", "words 1"])


@pytest.mark.parametrize(
    ("check", "message"),
    [("word 3", "unknown; did you mean `words`"), ("words three", "for example 'words 3'"), ("json {", "for example"),
     ("contains", "nothing to look for"), ("repeats river", "for example 'repeats 2 river'")],
)  # fmt: skip
def test_a_check_that_means_nothing_is_refused(check: str, message: str) -> None:
    # Behind a check that fails already: a mistake is reported whatever the answer is.
    with pytest.raises(ValueError, match=message):
        passes("an answer", ["upper", check])


def test_every_check_has_an_example_that_can_be_run() -> None:
    assert list(EXAMPLES) == list(CHECKS)
    for example in EXAMPLES.values():
        passes("an answer", [example])
