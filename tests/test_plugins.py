"""A technique exists because its file does, is listed without being imported, and one that is mistyped is an error."""

import inspect
import subprocess
import sys
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic.fields import FieldInfo

from holdfast import plugins
from holdfast.plugins import ANALYSES, CURATIONS, DECODINGS, EDITS, METHODS, RECIPES, Family

FAMILIES = [METHODS, RECIPES, EDITS, CURATIONS, DECODINGS, ANALYSES]
FIELDED = [(family, name) for family in (METHODS, EDITS, CURATIONS, DECODINGS) for name in plugins.members(family)]


@pytest.mark.parametrize(("family", "name"), FIELDED, ids=[name for _, name in FIELDED])
def test_a_field_that_a_technique_lacks_is_refused_in_python_too(family: Family, name: str) -> None:
    """The bug: `Ewc(self_texts=2)` was made without a word, and trained with the default."""
    with pytest.raises(ValueError, match="Unexpected keyword argument"):
        plugins.members(family)[name](nosuchfield=1)


def test_a_field_is_named_in_an_error_as_the_user_wrote_it() -> None:
    """With its section where `--set edit.alpha=2` set it, without where `edit_model(..., alpha=2)` did."""
    with pytest.raises(ValueError, match=r"'decode.smal'; did you mean 'decode.small'"):
        plugins.configure(DECODINGS, "logits_fusion", {"smal": "lab"}, "decode")
    with pytest.raises(ValueError, match=r"^edit.alpha=-1: "):
        plugins.configure(EDITS, "lines", {"alpha": -1}, "edit")
    with pytest.raises(ValueError, match=r"'alfa'; did you mean 'alpha'"):
        plugins.configure(EDITS, "lines", {"alfa": 1})
    with pytest.raises(ValueError, match=r"^lines.alpha=-1: "):
        plugins.configure(EDITS, "lines", {"alpha": -1})


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_what_is_read_from_the_files_is_what_importing_them_gives(family: Family) -> None:
    """Names, summaries, fields with inherited ones in their order, defaults, and whether a method joins another."""
    members = plugins.members(family)
    for name, technique in plugins.techniques(family).items():
        member = members[name]
        assert plugins.belongs(member, family)
        assert technique.summary == (inspect.getdoc(member) or "").splitlines()[0]
        if isinstance(member, type):
            known = {f.name: f.default for f in fields(member) if not f.name.startswith("_")}
            assert list(technique.fields) == list(known)
            for field, default in known.items():
                value = default.default if isinstance(default, FieldInfo) else default
                assert value is MISSING or technique.fields[field] == repr(value), f"{name}.{field}"
            assert technique.joins == (not getattr(member, "chooses_parameters", True))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_technique_says_what_it_does_and_where_it_comes_from(family: Family) -> None:
    own = {"label_mass"}  # of this library, as its docstring explains
    for technique in plugins.techniques(family).values():
        assert technique.summary.endswith((".", ")")), technique.name
        assert technique.source or technique.name in own, f"{technique.name}: the docstring needs a line `Source: ...`"


def test_a_listing_and_a_recipe_import_no_other_technique() -> None:
    code = (
        "import sys; from holdfast import plugins as p; p.records(p.METHODS, p.RECIPES); p.records(p.EDITS)\n"
        "assert not {'torch', 'transformers'} & sys.modules.keys()\n"
        "p.find('wise_ft', p.EDITS); assert 'holdfast.edits.dare' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, cwd=Path(__file__).parents[1])


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> SimpleNamespace:
    """A family of its own in a folder of its own, with `write(file, text)`."""
    package = "family_" + "".join(c for c in request.node.name if c.isalnum())
    folder = tmp_path / package
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "base.py").write_text(
        "class Base:\n    model: int\n\n@dataclass\nclass Middle(Base):\n    depth: int = 1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return SimpleNamespace(
        of=Family("edit", package, "Base"), package=package, write=lambda name, text: (folder / name).write_text(text)
    )


def test_techniques_are_found_by_their_base_however_it_is_imported(family: SimpleNamespace) -> None:
    family.write(
        "a.py",
        f"from {family.package}.base import Middle as M\n@dataclass(frozen=True)\nclass First(M):\n    width: int = 2\n",
    )
    family.write("b.py", f"from {family.package} import base\nclass Second(base.Base): ...\n")
    family.write("c.py", f"from {family.package}.a import First\nclass Other: ...\nclass Third(First): ...\n")
    family.write("_d.py", "def helper(): ...\n")
    found = plugins.techniques(family.of)
    assert list(found) == ["first", "second", "third"]
    assert found["third"].fields == {"depth": "1", "width": "2"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "class Mine: ...",
            r"mine.py: registers no edit; derive the class from Base of .*base, or begin the file's name",
        ),
        ("", "registers no edit"),
        ("class _Mine(Base): ...", "registers no edit"),
        ("x = (", r"mine.py:1: '\(' was never closed"),
    ],
)
def test_a_file_of_the_folder_that_registers_nothing_is_an_error(
    text: str, message: str, family: SimpleNamespace
) -> None:
    family.write("mine.py", f"from {family.package}.base import Base\n{text}" if "Base" in text else text)
    with pytest.raises(ValueError, match=message) as caught:
        plugins.techniques(family.of)
    assert "\n" not in str(caught.value)


HEAD = """
from typing import ClassVar
from pydantic.dataclasses import dataclass
from holdfast.edits.base import Edit, Streamed
from holdfast.methods.base import Method
from holdfast.methods.full import Full

"""


@pytest.mark.parametrize(
    ("family", "text", "message"),
    [
        (EDITS, "class Mine: ...", "Mine is no edit; derive the class from Edit of holdfast.edits.base"),
        (EDITS, "@dataclass(frozen=True)\nclass Mine(Edit): ...", "lacks __call__, which every edit"),
        (EDITS, "@dataclass(frozen=True)\nclass Mine(Streamed):\n    def ower(self): ...", "lacks over"),
        (EDITS, "class Mine(Edit):\n    def __call__(self, base, tuned, location): ...", "is no dataclass"),
        (RECIPES, "def Mine(fields): ...", "Mine is no recipe; put @recipe of holdfast.recipes.base above"),
        (ANALYSES, "def Mine(subject): ...", "Mine is no analysis; put @analysis of holdfast.analysis.base"),
        (METHODS, "@dataclass\nclass Mine(Method): ...", "does nothing; define one of .*penalty"),
        (METHODS, "@dataclass\nclass Mine(Method):\n    def penality(self): ...", "penality .* did you mean 'penalty'"),
        (METHODS, "@dataclass\nclass Mine(Full):\n    def after_steps(self): ...", "did you mean 'after_step'"),
        (
            METHODS,
            "@dataclass\nclass Mine(Full):\n    def completions(self): ...",
            "nothing reads completions any .* row_parts",
        ),
        (METHODS, "class Mine(Full):\n    rate: float = 1.0\n    def after_step(self, model): ...", "is no dataclass"),
        (METHODS, "@dataclass\nclass Mine(Method):\n    chooses_parameters: ClassVar = True", "define parameters"),
        (
            METHODS,
            "@dataclass\nclass Mine(Method):\n    def penalty(self, model): ...",
            r"penalty\(self, model\) is called as penalty\(self, model, rows, output\)",
        ),
        (
            EDITS,
            "@dataclass(frozen=True)\nclass Mine(Edit):\n    def __call__(self, base, tuned): ...",
            r"__call__\(self, base, tuned\) is called as __call__\(self, base, tuned, location\)",
        ),
        (CURATIONS, "class Mine: ...", "Mine is no curation"),
        (DECODINGS, "class Mine: ...", "Mine is no decoding"),
        (EDITS, "class Other: ...", "defines no edit called Mine"),
    ],
)
def test_a_mistyped_technique_is_one_clear_line(family: Family, text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(HEAD + text)
    with pytest.raises(ValueError, match=message) as caught:
        plugins.find(f"{path}:Mine", family)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_parameters_may_have_other_names_and_more_with_a_default(tmp_path: Path) -> None:
    text = "@dataclass\nclass Mine(Method):\n    def penalty(self, net, _rows, out, weight=1.0): ...\n    def after_step(self, *args): ..."
    (tmp_path / "mine.py").write_text(HEAD + text)
    assert plugins.find(f"{tmp_path}/mine.py:Mine", METHODS)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("x = 1\ny = 1 / 0\n", 2, "ZeroDivisionError: division by zero"),
        ("def f():\n    raise RuntimeError('a\\nb')\n\nf()\n", 2, "RuntimeError: a b"),
        ("import sys\nsys.exit(0)\n", 2, "SystemExit: 0"),
        ("import sys\n\nsys.exit()\n", 3, "SystemExit"),
        ("x = 1\nclass Mine(:\n", 2, "invalid syntax"),
        ("x = 1\n# \0\n", 2, "holds a NUL byte"),
        ("import no_such_module_anywhere\n", 1, "ModuleNotFoundError: No module named"),
        ("assert False\n", 1, "AssertionError"),
    ],
)
def test_a_users_file_that_fails_is_one_line_with_its_place(text: str, line: int, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    before = set(sys.modules)
    with pytest.raises(ValueError, match=message) as caught:
        plugins.find(f"{path}:Mine", METHODS, RECIPES)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert "\n" not in str(caught.value)
    assert not [name for name in set(sys.modules) - before if name.startswith("holdfast_own")]


def test_a_users_file_in_another_encoding_or_a_folder_is_one_line_too(tmp_path: Path) -> None:
    (tmp_path / "latin.py").write_bytes("x = 'é'\n".encode("latin-1"))
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(ValueError, match=r"latin.py:\d+: .*(utf-8|Non-UTF-8)"):
        plugins.find(f"{tmp_path}/latin.py:Mine", EDITS)
    with pytest.raises(ValueError, match="there is no file"):
        plugins.find(f"{tmp_path}/folder.py:Mine", EDITS)


def test_a_user_who_interrupts_is_not_told_of_a_mistake_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        plugins.find(f"{tmp_path}/mine.py:Mine", EDITS)


CURATION = """
from pydantic.dataclasses import dataclass
from holdfast.curation.base import Curation

@dataclass(frozen=True)
class Mine(Curation):
    limit: int = 2

    def __call__(self, examples, context):
        return tuple(examples)[: self.limit]
"""
DECODING = """
from pydantic.dataclasses import dataclass
from holdfast.decoding.base import Decoding
from holdfast.inference.sampling import GREEDY

@dataclass(frozen=True)
class Mine(Decoding):
    prefix: str = "Answer: "

    def generate(self, texts, sampling=GREEDY, *, progress=None):
        return self.model.generate([self.prefix + text for text in texts], sampling, progress=progress)
"""
RECIPE = """
from holdfast.methods.lora import Lora
from holdfast.methods.prefix_tuning import PrefixTuning
from holdfast.recipes.base import recipe
from holdfast.recipes.promot import two_stages

@recipe
def mine(plan):
    return two_stages(plan, PrefixTuning, Lora)
"""


@pytest.fixture
def own(tmp_path: Path) -> Callable[[str, str, Family], object]:
    """A user's own technique from its text."""

    def written(text: str, name: str, family: Family) -> object:
        (tmp_path / "own.py").write_text(text)
        return plugins.find(f"{tmp_path}/own.py:{name}", family)

    return written


def test_a_users_own_curation_serves(own: Callable[..., type]) -> None:
    from holdfast.curation.base import CurationContext
    from holdfast.tasks.task import Example, Task

    examples = tuple(Example({"input": str(i)}, "x") for i in range(5))
    curation = own(CURATION, "Mine", CURATIONS)(limit=3)
    assert curation(examples, CurationContext(Task("t", {"train": examples}))) == examples[:3]


def test_a_users_own_decoding_wraps_a_model_and_is_one(own: Callable[..., type]) -> None:
    class Echo:
        room = 7

        def generate(self, texts, sampling, *, progress=None):
            return [f"<{text}>" for text in texts]

        def rolling(self, texts, *, progress=None):
            return [float(len(text)) for text in texts]

    decoding = own(DECODING, "Mine", DECODINGS)(prefix="A: ")
    model = decoding.wrap(decoding.wrap(Echo()))
    assert model.generate(["x"]) == ["<A: A: x>"]
    assert model.rolling(["abc"]) == [3.0], "not changed, so the model inside answers"
    assert model.room == 7
    assert not hasattr(decoding, "model"), "the configuration itself stays without a model"


def test_a_decoding_answers_everything_that_a_language_model_answers() -> None:
    """The bug: a verb that is added to the protocol and not passed on."""
    from holdfast.decoding.base import Decoding
    from holdfast.inference.language_model import LanguageModel

    verbs = {name for name in vars(LanguageModel) if not name.startswith("_")}
    assert len(verbs) >= 6
    assert verbs <= vars(Decoding).keys()


def test_a_users_own_recipe_composes_an_absorber_and_a_tuner(own: Callable[..., Callable]) -> None:
    from holdfast.recipes.plan import RecipePlan
    from holdfast.tasks.task_set import TaskRef

    prompt, model = own(RECIPE, "mine", RECIPES)(RecipePlan("model", (TaskRef("task"),)))
    assert [type(method).__name__ for method in (*prompt.methods, *model.methods)] == ["PrefixTuning", "Lora"]
    assert model.prompts == (prompt,)


def test_examples_that_differ_in_their_origin_alone_are_equal() -> None:
    from holdfast.tasks.task import Example

    assert Example({}, "x", origin="the base") == Example({}, "x")
