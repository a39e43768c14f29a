"""Retrieved demonstrations: which are nearest, in which order they stand, what never is one, and what is refused."""

from pathlib import Path

import pytest

from holdfast.evaluation.ask import check_askable
from holdfast.tasks.examples.nearest import NearestQuestions, check_mode, ranking
from holdfast.tasks.task import Example, Task, Template
from holdfast.tasks.text.templates import choose_demonstrations

pytest.importorskip("sklearn", reason="retrieval by words needs scikit-learn")
MINILM = Path("~/.cache/holdfast-real/minilm").expanduser()
TEMPLATE = Template("Translate this sentence into French: {{ input }}\nFrench:")
POOL = tuple(
    Example({"input": text}, f"fr {number}")
    for number, text in enumerate(
        (
            "a man rides a horse",
            "two dogs play in the snow",
            "a man is riding a brown horse",
            "a woman sells bread at the market",
            "A  man rides a HORSE",
        )
    )
)


def shown(item: Example, k: int, skip: int = 0) -> list[str]:
    mode = ranking("nearest", TEMPLATE, POOL, k, skip)
    return [e.target for e in choose_demonstrations(TEMPLATE, POOL, k, mode=mode, seed=0, index=0, exclude=item)]


def test_the_nearest_stands_last_and_the_next_set_begins_after_it() -> None:
    item = Example({"input": "the men ride horses in the snow"}, "x")
    order = NearestQuestions(TEMPLATE, POOL).ranked(item)
    assert [POOL[i].target for i in order][::-1][-2:] == shown(item, 2)
    assert shown(item, 1) == [POOL[order[0]].target]
    assert shown(item, 1, skip=1) == [POOL[order[1]].target]
    assert sorted(order) == [0, 1, 2, 3, 4]  # Every one comes into question, whatever the set.


def test_the_same_question_is_no_demonstration_whatever_its_answer_and_spelling() -> None:
    """Not only the item itself: a duplicate in other case would hand over the answer, or contradict it."""
    assert NearestQuestions(TEMPLATE, POOL).ranked(POOL[0])[0] == 2
    assert not {0, 4} & {*NearestQuestions(TEMPLATE, POOL).ranked(POOL[0])}


def test_an_exact_question_has_cosine_one_and_the_template_counts_for_nothing() -> None:
    """Without taking off what all questions share, two unlike ones would have a high cosine by the template's words alone."""
    questions = NearestQuestions(TEMPLATE, POOL)
    assert questions.similarities(Example({"input": "two dogs play in the snow!"}, "x"))[1] > 0.9
    far = questions.similarities(Example({"input": "Zug nach Köln"}, "x"))
    assert far.max() < 0.2  # Its characters are shared by chance; with the template's words in, this is about 0.8.


def test_languages_without_spaces_are_compared_too() -> None:
    pool = tuple(Example({"input": text}, "x") for text in ("我喜欢吃苹果", "今天下雨了", "他在北京工作"))
    assert NearestQuestions(Template("{{ input }}"), pool).ranked(Example({"input": "我不喜欢吃香蕉"}, "x"))[0] == 0


def test_pools_with_nothing_to_compare() -> None:
    one = (Example({"input": "a"}, "b"),)
    assert NearestQuestions(Template("{{ input }}"), one).ranked(Example({"input": "c"}, "d")) == [0]
    with pytest.raises(ValueError, match="1 demonstrations are asked for, and the train split has 0 to show"):
        choose_demonstrations(
            TEMPLATE, one, 1, mode=ranking("nearest", TEMPLATE, one, 1), seed=0, index=0, exclude=one[0]
        )
    with pytest.raises(ValueError, match="hold no text that could be compared"):
        NearestQuestions(Template("{{ input }}"), (Example({"input": " "}, "b"), Example({"input": ""}, "b")))
    # Without shots nothing is ranked, however large or empty the pool.
    assert (
        choose_demonstrations(TEMPLATE, (), 0, mode=ranking("nearest", TEMPLATE, (), 0), seed=0, index=0, exclude=None)
        == []
    )


def test_a_mode_that_does_not_exist_and_a_folder_without_a_model_are_one_line(tmp_path: Path) -> None:
    assert [check_mode(mode) for mode in ("first", "sampled", "nearest")] == ["first", "sampled", "nearest"]
    for wrong in ("neighbours", "nearest:", "first:x"):
        with pytest.raises(ValueError, match="write first, sampled, nearest"):
            check_mode(wrong)
    pytest.importorskip("sentence_transformers", reason="the package that embeddings need")
    with pytest.raises(ValueError, match=r"no sentence-embedding model in this folder \(it has no config.json\)"):
        check_mode(f"nearest:{tmp_path}")


def test_the_harness_chooses_its_own() -> None:
    task = Task("sciq", {"test": POOL}, source="harness:sciq")
    with pytest.raises(ValueError, match="sciq: the harness chooses its own demonstrations; leave out"):
        check_askable([task], 1, demonstrations="nearest")


@pytest.mark.real
@pytest.mark.skipif(not MINILM.exists(), reason="no folder ~/.cache/holdfast-real/minilm; see CONTRIBUTING.md")
def test_embeddings_find_what_means_the_same_in_other_words() -> None:
    pytest.importorskip("sentence_transformers", reason="the package that embeddings need")
    item = Example({"input": "puppies are having fun outside in winter"}, "x")
    assert NearestQuestions(TEMPLATE, POOL, str(MINILM)).ranked(item)[0] == 1
    values = NearestQuestions(TEMPLATE, POOL, str(MINILM)).similarities(item)
    assert values[1] > 0.5 > values[3]
