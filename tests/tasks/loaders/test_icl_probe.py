"""The probe: the same seed, the same items; what the examples show is right, and what the text asks for is wrong."""

from dataclasses import replace

import pytest

from holdfast.results.metrics import metric
from holdfast.results.scores import Output
from holdfast.tasks.loaders.icl_probe import LANGUAGES, probe


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_same_seed_gives_the_same_items(language: str) -> None:
    task = probe(language, seed=1, size=5)
    assert task == probe(language, seed=1, size=5)
    assert task.version != probe(language, seed=2, size=5).version
    assert len(task.splits["test"]) == 2 * 2 * 5


def test_each_item_shows_twice_what_to_do_and_is_itself_a_question() -> None:
    for example in probe("english", size=10).splits["test"]:
        text = str(example.fields["input"])
        assert text.count("Input: ") == 3
        assert text.count("Output: ") == 2
        assert text.endswith("\nOutput:")
        assert example.choices is not None
        asked = text.rpartition("Input: ")[2].removesuffix("\nOutput:")
        assert example.target.casefold() == asked.casefold(), (
            "what is right is the question itself, repeated or in capitals"
        )
        assert example.choices[1] not in example.target


def test_answering_the_question_is_wrong_and_swapping_the_answers_turns_the_mark() -> None:
    example = probe("english", size=3).splits["test"][0]
    assert example.choices is not None
    output = Output("base", None, "probe:english", "general", 0, 0, "", example.target, f" {example.target} and more")
    mark = metric("starts_with").value
    assert mark([output]) == 1.0
    assert mark([replace(output, output=example.choices[1])]) == 0.0
    assert mark([replace(output, target=example.choices[1])]) == 0.0
