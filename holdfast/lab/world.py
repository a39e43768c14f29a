"""The lab's tasks by name: general ones, which pretraining teaches, and targets, which it never shows.

Every task is made of the world's sentences. The content of a question decides its split, whatever the task or the seed,
so train, validation and test never share a question, and pretraining (which draws from train) has seen no test question.
"""

from functools import cache
from itertools import chain
from random import Random

from holdfast.lab.skills import DEMONSTRATED, SKILLS, Item, Skill, demonstrated, draw
from holdfast.lab.targets import MAKERS, SECOND_FIELD, target_skill, variants
from holdfast.tasks.task import Example, Task, Template

VERSION = "1"
ORIGIN = "the lab's generated world"
SIZES = {"train": 2000, "validation": 200, "test": 300}
UNNAMED = ("first", "last", "receiver", "given")  # skills that also exist as tasks which only demonstrations explain
BY_FIELD = ("to-pol", "from-pol", "from-zan", "reverse", "summary", "add", "most")  # named by the output field alone


def general() -> list[str]:
    """Return the names of the tasks that pretraining teaches."""
    return [*SKILLS, *(f"demo-{name}" for name in (*DEMONSTRATED, *UNNAMED))]


def targets() -> list[str]:
    """Return the names of the tasks that pretraining never shows: each followed by its harder and its out-of-domain forms."""
    return list(chain.from_iterable(map(variants, MAKERS)))


def reworded() -> list[str]:
    """Return the names of the tasks with a second prompt, as in FTICL (its p2): the same questions and answers, other words."""
    return [f"{name}-p2" for name in (*(n for n, skill in SKILLS.items() if skill.instruction), *SECOND_FIELD)]


def names() -> list[str]:
    """Return the names of every task of the world."""
    return [*general(), *targets(), *reworded()]


def summary(name: str) -> str:
    """Return a line about a task: if pretraining teaches it."""
    known = "never shown in pretraining" if name.removesuffix("-p2") in targets() else "taught in pretraining"
    return f"{known}; the second prompt" if name.endswith("-p2") else known


@cache  # 2,500 items are drawn anew at each call, and a run asks for a task several times
def task(name: str, *, seed: int = 0) -> Task:
    """Return the task of that name, with its examples drawn by `seed`.

    Raises:
        ValueError: there is no such task.
    """
    if name not in names():
        raise ValueError(f"lab:{name}: there is no such task; `holdfast tasks` lists them, for example lab:sentiment")
    second = name.endswith("-p2")
    name = name.removesuffix("-p2")
    skill, template = _posed(name, seed, second)
    splits = {split: _examples(skill, f"{name}/{split}/{seed}", split, size) for split, size in SIZES.items()}
    return Task(f"{name}-p2" if second else name, splits, template, "exact_match", VERSION, ORIGIN)


def _posed(name: str, seed: int, second: bool) -> tuple[Skill, Template]:
    """Return the skill of a task and its template: an instruction or the output field names the skill, the other of the two if `second`."""
    if name in SKILLS:
        skill = SKILLS[name]
        cued = (name in BY_FIELD) != second
        return skill, template(skill, skill.cue if cued else "answer:", "" if cued else skill.instruction)
    if name.startswith("demo-"):
        bare = name.removeprefix("demo-")
        skill = SKILLS[bare] if bare in SKILLS else demonstrated(bare, Random(f"{name}/{seed}"))
        return skill, template(skill, "answer:", skill.instruction if bare in DEMONSTRATED else "")
    skill = target_skill(name)
    return skill, template(skill, SECOND_FIELD[name] if second else "answer:", "")


def template(skill: Skill, field: str, instruction: str) -> Template:
    """Return a template with one example a line; `field` opens the answer."""
    layout = skill.question.replace("{", "{{ ").replace("}", " }}")
    return Template(f"{layout} {field}", instruction, delimiter=" ", separator="\n", stop=("\n",))


def _examples(skill: Skill, seed: str, split: str, size: int) -> tuple[Example, ...]:
    """Return up to `size` different examples of one split."""
    rng, examples = Random(seed), {}
    for _ in range(4 * size):  # a skill with few different questions has fewer than `size`, and must come to an end
        if len(examples) == size:
            break
        item: Item = draw(skill.make, rng, rng.randint(1, 3), split)
        examples.setdefault(tuple(item.fields.values()), Example(item.fields, item.answer, skill.choices))
    return tuple(examples.values())
