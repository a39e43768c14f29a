"""The page on techniques is true: each of its examples runs, and no page links into nothing."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from holdfast import plugins
from holdfast.plugins import ANALYSES, CURATIONS, DECODINGS, EDITS, METHODS, RECIPES, Family

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "add-a-technique.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def example(name: str, family: Family, folder: Path) -> Any:
    """The class or function `name` of the page, from a file of a user's own."""
    (text,) = [snippet for snippet in SNIPPETS if re.search(rf"^(class|def) {name}\b", snippet, re.MULTILINE)]
    path = folder / "own.py"
    path.write_text(text)
    return plugins.find(f"{path}:{name}", family)


def test_the_method_damps_one_gradient(tmp_path: Path) -> None:
    embedding = torch.nn.Embedding(3, 2)
    embedding.weight.grad = torch.ones(3, 2)
    method = example("SlowEmbeddings", METHODS, tmp_path)(factor=0.25)
    method.after_backward(SimpleNamespace(model=SimpleNamespace(get_input_embeddings=lambda: embedding)))
    assert embedding.weight.grad.unique().tolist() == [0.25]


def test_the_recipe_has_two_stages(tmp_path: Path) -> None:
    from holdfast.recipes.plan import RecipePlan
    from holdfast.tasks.task_set import TaskRef

    prompt, model = example("promot_deep_lora", RECIPES, tmp_path)(RecipePlan("model", (TaskRef("task"),)))
    assert [type(method).__name__ for method in (*prompt.methods, *model.methods)] == ["PrefixTuning", "Lora"]


def test_the_curation_keeps_the_first(tmp_path: Path) -> None:
    from holdfast.curation.base import CurationContext
    from holdfast.tasks.task import Example, Task

    examples = tuple(Example({"input": str(i)}, "x") for i in range(5))
    curation = example("FewerExamples", CURATIONS, tmp_path)(limit=2)
    assert curation(examples, CurationContext(Task("t", {"train": examples}))) == examples[:2]


def test_the_edit_resets_what_is_small_and_keeps_its_word(tmp_path: Path) -> None:
    from holdfast.weights.layout import Layout

    kind, location = example("Floor", EDITS, tmp_path), Layout({"w": (3,)}).locate("w")
    base, tuned = torch.tensor([1.0, 1.0, 1.0]), torch.tensor([1.0, 1.125, 2.0])
    assert kind(least=0.5)(base, [tuned], location).tolist() == [1.0, 1.0, 2.0]
    for settings in kind.EXAMPLES_OFF:
        assert torch.equal(kind(**settings)(base, [tuned], location), tuned)


def test_the_decoding_asks_with_its_text(tmp_path: Path) -> None:
    inside = SimpleNamespace(generate=lambda texts, sampling, progress: list(texts))
    assert example("Prefixed", DECODINGS, tmp_path)(text="A ").wrap(inside).generate(["b"]) == ["A b"]


def test_the_analysis_finds_the_largest(tmp_path: Path) -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(-3)
    (finding,) = example("largest_weight", ANALYSES, tmp_path)(SimpleNamespace(pretrained=SimpleNamespace(model=model)))
    assert (finding.measure, finding.where, finding.value) == ("largest", "weight", 3.0)


def test_every_example_of_the_page_is_run_here() -> None:
    assert len(SNIPPETS) == 6


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as hubs make them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_link_leads_into_nothing(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}, which does not exist"
        assert not anchor or anchor in anchors(target.read_text()), f"{page.name}: {link} has no such heading"
