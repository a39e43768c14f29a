"""Records of golden runs: what they are made of, and how two are compared. `python -m tests.golden.record [NAME...]` writes them anew.

A change that should not alter the numbers leaves every record as it is. One that should says in its commit which part moved, and why.
"""

import hashlib
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file

from holdfast.results.scores import Score, read_outputs, read_scores
from tests.golden.cases import CASES, Case
from tests.golden.worlds import digest, write_world

HERE = Path(__file__).parent / "records"
# How far losses may be off on another class of machine. AVX-512 and SSE kernels differ by 1e-5 after 20 steps of most recipes, and by up
# to 0.23 where a LoRA starts at zero: of a gradient that is rounding alone, Adam makes a whole step. Without the optimizer's step the
# losses of every stage differ by 1.3 and more (of DPO, which begin at ln 2, by 0.6).
TOLERANCE = 0.3
# The share of a stage's losses that may be further off there: one of twenty is, of two recipes with high rates, between the AVX-512 of two
# makers (0.7 in the ninth of lora_absorber, back to 0.03 in the next). A missing step moves more than that.
STRAYS = 0.1
NUMBERS = ("value", "delta", "again", "transfer", "chance", "n", "truncated", "over_sets")
INTERVALS = ("low", "high", "stderr", "delta_low", "delta_high", "p", "verdict", "needed", "transfer_low", "transfer_high")  # fmt: skip
ANYWHERE = (
    "digests",
    "folders",
    "evaluations",
    "losses",
)  # on another class of machine an answer that is nearly a tie may flip


def machine() -> str:
    """Return the machine's class: runs of one class give the same bits."""
    vendor = next((line for line in _cpuinfo() if line.startswith("vendor_id")), platform.processor())
    parts = (torch.__version__, torch.backends.cpu.get_cpu_capability(), vendor.rpartition(":")[2].strip())
    return " ".join((f"torch {parts[0]}", f"transformers {transformers.__version__}", *parts[1:]))


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


@contextmanager
def one_thread(folder: Path) -> Iterator[None]:
    """Compute with one thread, which fixes the order of sums, in `folder`."""
    threads, before = torch.get_num_threads(), Path.cwd()
    torch.set_num_threads(1)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        torch.set_num_threads(threads)


def record(case: Case, world: Path) -> dict[str, Any]:
    """Run a case in the world and return its record."""
    out = Path(f"run-{case.name}")
    with one_thread(world):
        case.run(out)
        runs = sorted(path.parent for path in out.glob("runs/*/scores.jsonl")) or [out]
        found: dict[str, Any] = {"machine": machine(), "world": digest(world, case.model)}
        found |= {"digests": sorted(path.name for path in (out / "stages").iterdir())}
        found |= {"evaluations": evaluations(out / "stages")}
        found |= {"losses": losses((run.name if case.arms else "", run / "log.jsonl") for run in runs)}
        found |= {"weights": weights(out)}
        scores = [(run.name if case.arms else "", score) for run in runs for score in read_scores(run)]
        for part, names in (("scores", NUMBERS), ("intervals", INTERVALS)):
            found[part] = {
                " ".join(filter(None, (run, *map(str, score.key)))): _given(score, names) for run, score in scores
            }
        if case.arms:
            found["study"] = [json.loads(line) for line in (out / "study.jsonl").read_text().splitlines()]
    return json.loads(json.dumps(found))


def _given(score: Score, names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(score, name)) is not None}


def losses(logs: Iterable[tuple[str, Path]]) -> dict[str, list[Any]]:
    """Return the loss of every step, and the step and score of every validation, by run and stage; `logs` are runs and their logs."""
    found: dict[str, list[Any]] = {}
    for name, path in logs:
        for line in map(json.loads, path.read_text().splitlines()):
            for kind, value in (("loss", line.get("loss")), ("validation", line.get("validation"))):
                if value is not None:
                    key = " ".join(filter(None, (name, line["stage"], kind)))
                    found.setdefault(key, []).append(value if kind == "loss" else [line["step"], value])
    return found


def weights(run: Path) -> dict[str, str]:
    """Return the hash of the tensors in every file of weights that a run or the runs of a study left."""
    found = {}
    for path in sorted(run.rglob("*.safetensors")):
        if "stages" not in path.relative_to(run).parts:
            content = hashlib.sha256()
            for name, tensor in sorted(load_file(path).items()):
                content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                content.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
            found[path.relative_to(run).as_posix()] = content.hexdigest()[:16]
    return found


def evaluations(stages: Path) -> list[str]:
    """Return what each evaluation asked: variant, prompt, step, task, role, shots, and how many items."""
    found = []
    for path in sorted(stages.glob("*/outputs.jsonl")):
        counts: dict[str, int] = {}
        for output in read_outputs(path.parent):
            state = (output.variant, output.prompt, output.step, output.task, output.role, f"{output.shots} shots")
            line = " ".join(str(value) for value in state if value is not None)
            marks = ("generated too" * (output.generated is not None), "mass" * ("first_token_mass" in output.scores))
            line = ", ".join(filter(None, (line, *marks)))
            counts[line] = counts.get(line, 0) + 1
        name = path.parent.name.rpartition("-")[0]
        found += [f"{name}: {line}: {count}" for line, count in counts.items()]
    return sorted(found)


def differences(old: Any, new: Any, tolerance: float, place: str = "") -> Iterator[str]:
    """Yield where two records differ, and by what; numbers may differ by `tolerance`."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if key not in old or key not in new:
                yield f"{place}/{key}: {'new' if key in new else 'gone'}"
            else:
                yield from differences(old[key], new[key], tolerance, f"{place}/{key}")
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            yield f"{place}: {len(old)} -> {len(new)} entries: {_first_new(old, new)}"
            return
        for number, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from differences(one, other, tolerance, f"{place}[{number}]")
    elif _number(old) and _number(new):
        if not abs(old - new) <= tolerance:  # written so that a NaN differs
            yield f"{place}: {old!r} -> {new!r}"
    elif old != new:
        yield f"{place}: {old!r} -> {new!r}"


def _first_new(old: list[Any], new: list[Any]) -> str:
    gone, come = [one for one in old if one not in new][:2], [one for one in new if one not in old][:2]
    return f"gone {gone}, new {come}"


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def compare(old: dict[str, Any], new: dict[str, Any]) -> dict[str, list[str]]:
    """Return the differences by part: exact on one class of machine; elsewhere losses within `TOLERANCE`, and no scores."""
    same = old["machine"] == new["machine"]
    found: dict[str, list[str]] = {}
    for part in sorted((old.keys() | new.keys()) - {"machine", "world"}):
        if part not in ANYWHERE and not same:
            continue
        if part == "digests" and old["world"] != new["world"]:
            continue  # other libraries wrote the model's folder, and the hash of a stage holds that of its model
        one, other = old.get(part), new.get(part)
        if part == "losses" and not same:
            one, other = _without_validation(one), _without_validation(other)
        exact = same or part != "losses"
        lines = list(differences(one, other, 0.0 if same else TOLERANCE)) if exact else _far(one or {}, other or {})
        if lines:
            found[part] = lines
    return found


def _far(old: dict[str, list[Any]], new: dict[str, list[Any]]) -> list[str]:
    """Return the differences of the stages of which more than `STRAYS` of the losses are far off, or that are not of both."""
    before, after = ({key: len(values) for key, values in losses.items()} for losses in (old, new))
    lines = list(differences(before, after, 0.0))
    for key in old.keys() & new.keys():
        far = list(differences({key: old[key]}, {key: new[key]}, TOLERANCE))
        lines += far if len(far) > STRAYS * len(old[key]) else []
    return lines


def _without_validation(losses: dict[str, list[Any]] | None) -> dict[str, list[Any]]:
    return {key: values for key, values in (losses or {}).items() if not key.endswith(" validation")}


def explain(name: str, parts: dict[str, list[str]]) -> str:
    """Return the differences as text: which parts moved, the first lines of each, and what to do."""
    lines = [f"{name}: {', '.join(parts) or 'nothing'} moved"]
    for part, moved in parts.items():
        lines += [f"  {part}{line}" for line in moved[:6]]
        lines += [f"  {part}: and {len(moved) - 6} more"] if len(moved) > 6 else []
    return "\n".join(lines)


def read(path: Path) -> dict[str, Any]:
    """Read a record."""
    assert path.exists(), f"there is no record {path.name}: run `python -m tests.golden.record {path.stem}`"
    return json.loads(path.read_text())


def write(path: Path, found: dict[str, Any]) -> None:
    """Write a record, one line for every entry of a part, so that version control shows what moved."""
    parts = []
    for part, value in found.items():
        if isinstance(value, dict):
            lines = [f"  {json.dumps(key)}: {json.dumps(inside)}" for key, inside in value.items()]
            parts.append(f" {json.dumps(part)}: {{\n" + ",\n".join(lines) + "\n }")
        elif isinstance(value, list):
            parts.append(f" {json.dumps(part)}: [\n" + ",\n".join(f"  {json.dumps(one)}" for one in value) + "\n ]")
        else:
            parts.append(f" {json.dumps(part)}: {json.dumps(value)}")
    path.parent.mkdir(exist_ok=True)
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n")


def main(names: list[str]) -> None:
    """Record the named cases and recipes anew, or all, and print what changed."""
    from tests.golden import recipes

    with tempfile.TemporaryDirectory() as folder:
        world = write_world(Path(folder))
        makers = {HERE / f"{case.name}.json": (case, record) for case in CASES}
        makers |= {recipes.HERE / f"{name}.json": (name, recipes.record) for name in recipes.names()}
        for path, (subject, make) in makers.items():
            if names and path.stem not in names:
                continue
            if isinstance(subject, Case) and not all((world / needed).exists() for needed in subject.needs):
                print(f"{path.stem}: left as it was; what it reads is not here")
                continue
            new = make(subject, world)  # pyright: ignore[reportArgumentType]
            label = f"{path.parent.name}/{path.stem}"
            print(explain(label, compare(read(path), new)) if path.exists() else f"{label}: new", flush=True)
            write(path, new)


if __name__ == "__main__":
    main(sys.argv[1:])
