"""The general tasks that suit a model: by the language that its tokenizer reads, and not by its name."""

import shutil
from pathlib import Path

import pytest

from holdfast import lab
from holdfast.api.request import general_of
from holdfast.lab import world
from holdfast.models import loading
from holdfast.models.reading import default_general, unread
from holdfast.tasks.everyday import suite
from holdfast.tasks.sources import expand
from tests.training import tiny

STORIES = Path(__file__).parents[3] / "shared/models/stories260k"
OF_THE_LAB = tuple(f"lab:{name}" for name in world.general())


def test_a_model_with_the_labs_words_is_asked_the_labs_tasks(tmp_path: Path) -> None:
    assert default_general("lab") == OF_THE_LAB
    # A tuned copy has another name, and reads as little English.
    for path in lab.folder().iterdir():
        if "tokenizer" in path.name or path.name == "config.json":
            shutil.copy(path, tmp_path)
    assert default_general(str(tmp_path)) == OF_THE_LAB
    missing = unread(loading.load_tokenizer(tmp_path), suite.task("capitals"))
    assert missing is not None
    assert missing.share > 0.05
    assert len(missing.words) == 4


def test_a_model_that_reads_neither_is_asked_nothing(tmp_path: Path) -> None:
    loading.save(tiny.pretrained(), tmp_path)
    assert default_general(str(tmp_path)) == ()


@pytest.mark.skipif(not STORIES.exists(), reason="shared/models/stories260k is not beside the repository")
def test_a_model_that_reads_english_is_asked_the_everyday_suite_without_the_targets() -> None:
    model = str(STORIES)
    assert default_general(model) == ("everyday",)
    rest = [name for name in expand("everyday") if name != "everyday:topic"]
    assert default_general(model, ["everyday:topic"]) == tuple(rest)


def test_named_tasks_go_before_and_none_is_nothing() -> None:
    assert general_of("no/such/model", ["t"], "lab:kind") == ("lab:kind",)  # no tokenizer is loaded for it
    assert general_of("no/such/model", ["t"], "none") == general_of("no/such/model", ["t"], []) == ()
    assert general_of("lab", ["lab:kind"], None) == tuple(name for name in OF_THE_LAB if name != "lab:kind")
    with pytest.raises(ValueError, match="none stands alone"):
        general_of("lab", ["t"], ["none", "lab:kind"])
