"""Golden losses: 20 steps of every recipe and method that the folders hold, each on the tiny model; and its stages' folders."""

import shutil
from pathlib import Path
from typing import Any

from holdfast.curation.base import Curation
from holdfast.curation.branch_pairs import BranchPairs
from holdfast.curation.own_pairs import OwnPairs
from holdfast.plugins import METHODS, RECIPES, members, records
from holdfast.recipes.find import find_recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.stages.loader import Loader
from holdfast.stages.stage import Stage, execute
from holdfast.stages.stage import digest as digest_of
from holdfast.tasks.task_set import TaskRef
from tests.golden.cases import BOTH, MODEL, PROMPT, TINY
from tests.golden.record import losses, machine, one_thread, weights
from tests.golden.worlds import digest

HERE = Path(__file__).parent / "losses"
# Settings that a method cannot do without, or that make it learn something in 20 steps.
NEEDS: dict[str, dict[str, Any]] = {
    "replay": {"texts": "texts.txt"},
    # The loss of answers that are drawn anew is near 0, and so what moves it is the KL.
    "grpo": {"reward": "reward.py:spread", "samples": 4, "max_new_tokens": 6, "beta": 1.0},
    "levi": {"taps": 2},  # of two blocks
    "lt_sft": {"density": 0.5},
    "tuned_graft": {"density": 0.3},
    # Their losses hardly move at the rate of the others: a scale near one, a vector from zero, labels of which most weigh little.
    "head_scale": {"learning_rate": 0.1},
    "lofit": {"learning_rate": 0.3},
    "token_weights": {"power": 0.1, "learning_rate": 0.05},
    # Their prompt goes on from that of the phase before, which has the default length.
    "mvlpt": {"length": 50},
    "promot_mvlpt": {"length": 50},
    "self_replay": {"self_texts": 8, "self_length": 16, "self_batch": 2},
}
# Random weights are never right: the target itself is preferred to what they write.
CURATED: dict[str, Curation] = {
    "on_policy_dpo": OwnPairs(gold=True, max_new_tokens=4, samples=2),
    "itool": BranchPairs(share=1.0, reward="f1", samples=8, max_new_tokens=6, depth=2),
}
PAIRED = ("dpo", "ipo", "simpo")
TARGETS: dict[str, tuple[str, ...]] = dict.fromkeys(PAIRED, ("pairs",))  # where it needs other tasks than `BOTH`


def names() -> list[str]:
    """Return the name of every recipe and method; one that joins another stands beside full fine-tuning.

    A method that needs a stage before it cannot stand alone: it has its record in the recipe that has both.
    """
    later = {name for name, method in members(METHODS).items() if method.stages}
    listed = [record["name"] for record in records(RECIPES, METHODS) if record["name"] not in later]
    return [f"full{name}" if name.startswith("+") else name for name in listed]


def plan(name: str) -> list[Stage]:
    """Return the stages of a recipe, on two targets as a rule, with the settings of the golden runs for the fields that it has."""
    joined = name.rpartition("+")[2]
    targets = tuple(TaskRef(target) for target in TARGETS.get(joined, BOTH))
    probe = RecipePlan("model", targets)
    find_recipe(name)(probe)
    settings: dict[str, dict[str, Any]] = {}
    for stage, shown in probe.resolved.items():
        wanted = TINY | (PROMPT if stage.startswith("prompt") else MODEL) | NEEDS.get(joined, {})
        pinned = {key.rpartition(".")[2] for key in probe.pinned if key.startswith(f"{stage}.")}
        settings[stage] = {key: value for key, value in wanted.items() if key in shown and key not in pinned}
    fields = RecipePlan("model", targets, settings)
    if joined in CURATED:
        fields.tasks = fields.curated(CURATED[joined])
    return find_recipe(name)(fields)


def lab_plan(targets: int) -> RecipePlan:
    """Return a plan of fixed tasks and fingerprints, so that the folders of its stages depend on the code alone."""
    tasks = (TaskRef("lab:first-target"), TaskRef("lab:second-target"))[:targets]
    return RecipePlan("lab", tasks, {}, 3, ("model-hash", "first-hash", "second-hash")[: 1 + targets])


def folders(name: str) -> list[str]:
    """Return the names of the folders of a recipe's stages, with its defaults: on one target, and on two."""
    names = []
    for targets in (1, 2):
        stages = find_recipe(name)(lab_plan(targets))
        names.append(" ".join(f"{stage.name}-{digest_of(stage)}" for stage in stages))
    return names


def record(name: str, world: Path) -> dict[str, Any]:
    """Train every stage of a recipe and return its losses and weights."""
    root = Path(f"golden-{name}")
    with one_thread(world):
        shutil.rmtree(root, ignore_errors=True)  # of a call that failed
        stages = plan(name)
        loader = Loader()  # shared, as a run does: a model that a prompt stage gave back must train as a fresh one
        left = [execute(stage, root, loader) for stage in stages]
        found: dict[str, Any] = {"machine": machine(), "world": digest(world, "model")}
        found |= {"folders": folders(name)}
        found |= {"losses": losses(("", folder / "log.jsonl") for folder in left)}
        hashes = [(stage.name, weights(folder)) for stage, folder in zip(stages, left, strict=True)]
        found["weights"] = {f"{stage}/{path}": value for stage, files in hashes for path, value in files.items()}
        shutil.rmtree(root)
    return found
