"""The rule by which answers are shown, and the arithmetic of the figures."""

from dataclasses import replace

from holdfast.report.chart import svg
from holdfast.report.run.examples import LONGEST, choose, cut
from holdfast.report.run.figures import thin
from holdfast.results.scores import Output, Score
from holdfast.results.summary import Summary
from holdfast.results.symptoms import mark
from holdfast.tasks.task import Example, Task


def answered(variant: str, scores: list[float], prompt: str | None = None) -> list[Output]:
    return [
        Output(variant, prompt, "t", "general", 0, index, f"q{index}", "a", "x", scores={"f1": score})
        for index, score in enumerate(scores)
    ]


def test_the_items_that_fell_most_come_first_then_the_one_that_rose_most() -> None:
    scores = [
        Score("base", None, "t", "general", 0, "f1", 0.5, 0.4, 0.6, 6),
        Score("tuned", "off", "t", "general", 0, "f1", 0.4, 0.3, 0.5, 6, delta=-0.1, delta_low=-0.2, delta_high=0.0),
    ]
    #                       fell 0.5  same  fell 1  fell 1  rose 0.2  rose 1
    base = answered("base", [1.0, 1.0, 1.0, 1.0, 0.3, 0.0])
    tuned = answered("tuned", [0.5, 1.0, 0.0, 0.0, 0.5, 1.0], "off")
    attached = answered("tuned", [0.0] * 6, "on")
    (found,) = choose([*attached, *tuned, *base], Summary.of(scores))
    assert [item.index for item in found.items] == [2, 3, 5]
    assert (found.fell, found.rose, found.of) == (3, 2, 6)
    first = [(answer.state, answer.right) for answer in found.items[0].answers]
    assert first == [("base", True), ("prompt attached", False), ("prompt removed", False)]


def test_what_a_model_wrote_freely_is_shown_beside_its_choice() -> None:
    scores = [Score("base", None, "t", "general", 0, "f1", 0.5, 0.4, 0.6, 1)]
    scores.append(replace(scores[0], variant="tuned", value=0.0, delta=-0.5, delta_low=-0.6, delta_high=-0.4))
    outputs = [*answered("base", [1.0]), *(replace(o, generated="True") for o in answered("tuned", [0.0]))]
    (found,) = choose(outputs, Summary.of(scores))
    assert [answer.generated for answer in found.items[0].answers] == [None, "True"]


def test_answers_in_the_tuned_tasks_format_come_first_and_stand_in_where_items_have_no_score() -> None:
    """The marks are the product's: `mark` finds the answer that is a label of the tuned task."""
    labels = Task("rte", {"train": tuple(Example({}, "True", ("True", "False")) for _ in range(4))}, metric="accuracy")
    general = Task("t", {"train": tuple(Example({}, f"answer {i}") for i in range(9))}, metric="bleu")
    asked = Output("base", None, "rte", "target", 0, 0, "?", "True", "True")
    scores = [Score("base", None, "t", "general", 0, "bleu", 50, 40, 60, 3)]
    scores.append(replace(scores[0], variant="tuned", value=40, delta=-10, delta_low=-20, delta_high=-1))
    base = [replace(o, scores={}) for o in answered("base", [0, 0, 0])]
    tuned = [replace(o, scores={}, output="True" if o.index == 1 else "x") for o in answered("tuned", [0, 0, 0])]
    (found,) = choose(mark([asked, *base, *tuned], [labels, general]), Summary.of(scores))
    assert ([item.index for item in found.items], found.fell) == ([1], 1)
    judged = [replace(s, metric="f1") for s in scores]
    base = [replace(o, scores={"f1": 1.0}) for o in base]
    tuned = [replace(o, scores={"f1": 0.4 * (o.index == 1)}) for o in tuned]
    (found,) = choose(mark([asked, *base, *tuned], [labels, replace(general, metric="f1")]), Summary.of(judged))
    assert [item.index for item in found.items] == [1, 0]


def test_items_that_only_one_model_answered_are_not_compared() -> None:
    scores = [Score("tuned", None, "t", "general", 0, "f1", 0.4, 0.3, 0.5, 6)]
    assert choose(answered("tuned", [1.0, 0.0]), Summary.of(scores)) == []


def test_a_long_text_is_cut_and_says_so_and_a_long_input_keeps_its_end() -> None:
    text = "s" + "x" * LONGEST + "e"
    assert cut(text).startswith("sx")
    assert cut(text).endswith("[2 characters cut]")
    assert cut(text, end=True).endswith("xe")
    assert cut("short") == "short"


def test_ticks_are_round_and_inside() -> None:
    assert svg.Scale(-43.1, 37.9).ticks() == [-40, -20, 0, 20]
    assert svg.Scale(0.11, 0.29).ticks() == [0.15, 0.2, 0.25]
    scale = svg.Scale(-10, 30)
    assert [scale.at(value) for value in (-10, 0, 30, 99)] == [0, 25, 100, 100]


def test_thinning_keeps_the_ends() -> None:
    points = [(float(step), 1.0 / (step + 1)) for step in range(5003)]
    kept = thin(points)
    assert len(kept) <= 401
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert thin(points[:5]) == points[:5]


def test_markup_escapes_attributes_and_text() -> None:
    assert svg.tag("text", "<b>", aria_label='"&') == '<text aria-label="&#34;&amp;">&lt;b&gt;</text>'
