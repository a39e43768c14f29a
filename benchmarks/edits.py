"""Editing a checkpoint by slices: seconds beside mere copying, and memory beside the largest tensor and the plain way.

A checkpoint of random bfloat16 numbers in four files is made twice in a temporary folder (2 GB each, with `--small` 50 MB).

- `... seconds`: `theirs` is reading both checkpoints and writing one, by the same calls, without an edit between.
- `... bytes above the start`: `theirs` is the size of the largest tensor; a goal of three of them is a ratio above 0.33.
- `plain ...`: `theirs` is `load_file`, edit, `save_file`, file by file; in seconds, and in bytes above the start.
- `mergekit ...`, where it is installed: the same interpolation by mergekit's `linear`, in seconds and bytes.

Memory is the highest resident set of a process of its own, less what it held before the edit.
"""

import importlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from benchmarks.harness import Result, Setup, above_the_start, alternate, in_process, main, quietly, timed
from holdfast.api.edit import edit_model
from holdfast.plugins import EDITS as FAMILY
from holdfast.plugins import configure
from holdfast.stages.edit_slices import SLICE
from holdfast.weights.layout import Layout
from holdfast.weights.safetensors_files import Reader, shards

EDITS = {"wise_ft": {}, "lines": {}, "breadcrumbs": {}, "magnitude": {}, "dare": {}}
FILES = 4


def checkpoint(folder: Path, seed: int, *, small: bool) -> Path:
    """Names and shapes as Llama has them: 2 GB (width 2048, 16 blocks) or 50 MB in four files with an index."""
    width, inner, vocabulary, blocks = (512, 1408, 8000, 5) if small else (2048, 5632, 32000, 16)
    shapes = {"model.embed_tokens.weight": (vocabulary, width), "lm_head.weight": (vocabulary, width)}
    shapes |= {"model.norm.weight": (width,)}
    for i in range(blocks):
        shapes |= {f"model.layers.{i}.self_attn.{part}_proj.weight": (width, width) for part in "qkvo"}
        shapes |= {f"model.layers.{i}.mlp.{part}_proj.weight": (inner, width) for part in ("gate", "up")}
        shapes[f"model.layers.{i}.mlp.down_proj.weight"] = (width, inner)
        shapes |= {f"model.layers.{i}.{part}_layernorm.weight": (width,) for part in ("input", "post_attention")}
    folder.mkdir()
    draw = torch.Generator().manual_seed(seed)
    places = {
        name: f"model-{i * FILES // len(shapes) + 1:05}-of-{FILES:05}.safetensors" for i, name in enumerate(shapes)
    }
    for file in sorted(set(places.values())):
        tensors = {n: torch.randn(shapes[n], generator=draw).bfloat16() for n in shapes if places[n] == file}
        save_file(tensors, folder / file, {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": width,
        "vocab_size": vocabulary,
    }
    config |= {"intermediate_size": inner, "num_hidden_layers": blocks, "num_attention_heads": 16}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def moved(model: Path, folder: Path, seed: int) -> Path:
    """A pretrained model's files in bfloat16; with a seed above 0, its matrices moved by a thousandth of their spread."""
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    draw = torch.Generator().manual_seed(seed)
    for path in model.glob("*.safetensors"):
        tensors = {}
        for name, weight in load_file(path).items():
            step = (
                1e-3 * weight.float().std() * torch.randn(weight.shape, generator=draw)
                if seed and weight.ndim > 1
                else 0.0
            )
            tensors[name] = (weight.float() + step).bfloat16()
        save_file(tensors, folder / path.name, {"format": "pt"})
    return folder


def by_slices(base: str, tuned: str, name: str, out: str) -> None:
    """Ours."""
    shutil.rmtree(out, ignore_errors=True)
    edit_model(base, tuned, name, out, **EDITS[name])


def plain(base: str, tuned: str, name: str, out: str) -> None:
    """Both models' files read whole, edited and saved, as one would write it in a notebook."""
    shutil.rmtree(out, ignore_errors=True)
    Path(out).mkdir()
    how, before = configure(FAMILY, name, EDITS[name]), {}
    for path in sorted(Path(base).glob("*.safetensors")):
        before |= load_file(path)
    layout = Layout({name: tuple(tensor.shape) for name, tensor in before.items()})
    for path in sorted(Path(tuned).glob("*.safetensors*")):
        if path.suffix == ".json":
            shutil.copy(path, out)
            continue
        after = load_file(path)
        edited = {n: how(before[n].float(), [t.float()], layout.locate(n)).to(t.dtype) for n, t in after.items()}
        save_file(edited, Path(out) / path.name, {"format": "pt"})


def copy(base: str, tuned: str, out: str) -> None:
    """Read the bytes of both and write those of one."""
    shutil.rmtree(out, ignore_errors=True)
    Path(out).mkdir()
    with Reader() as reader:
        other = {name: stored for shard in shards(Path(base)) for name, stored in shard.tensors.items()}
        for shard in shards(Path(tuned)):
            with (Path(out) / shard.path.name).open("wb") as file:
                file.write(shard.header)
                for name, stored in shard.tensors.items():
                    for one, _ in zip(
                        reader.chunks(stored, 2 * SLICE), reader.chunks(other[name], 2 * SLICE), strict=True
                    ):
                        file.write(one.numpy().data)


def mergekit(base: str, tuned: str, out: str) -> None:
    """The straight line at 0.5 by mergekit's `linear`, in this process: its imports are not counted."""
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    shutil.rmtree(out, ignore_errors=True)
    models = [{"model": path, "parameters": {"weight": 0.5}} for path in (base, tuned)]
    config = {"merge_method": "linear", "dtype": "bfloat16", "models": models}
    options = MergeOptions(copy_tokenizer=False, lazy_unpickle=True, write_model_card=False, quiet=True)
    with quietly():
        run_merge(MergeConfiguration.model_validate(config), out, options)


def child(way: str, *arguments: str) -> None:
    """In its own process: a line with the most bytes that `way` held above the start."""
    if way == "mergekit":
        importlib.import_module("mergekit.merge")  # What its import holds is not counted.
    print(json.dumps({"bytes": above_the_start(lambda: globals()[way](*arguments))}))


def _mergekit_runs() -> bool:
    """Whether mergekit is installed with all that merging imports."""
    try:
        importlib.import_module("mergekit.merge")
    except ImportError:
        return False
    return True


def peak(way: str, *arguments: str) -> float:
    """Bytes that a fresh process needs for `way` above what it holds before."""
    return in_process(f"from benchmarks import edits; edits.child({way!r}, *{arguments!r})")["bytes"]


def difference(one: Path, other: Path) -> float:
    """The largest difference between two checkpoints, whatever their files; a tensor at a time."""
    found = ({name: t for part in shards(folder) for name, t in part.tensors.items()} for folder in (one, other))
    left, right = found
    assert left.keys() == right.keys()
    with Reader() as reader:
        return max(
            float((reader.whole(t).float() - reader.whole(right[n]).float()).abs().max()) for n, t in left.items()
        )


def cases(setup: Setup) -> Iterator[Result]:
    """Every edit; see the text above."""
    rounds = 3
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        sides = enumerate(("base", "tuned"))
        base, tuned = (
            str(
                moved(setup.model, root / side, seed)
                if setup.model
                else checkpoint(root / side, seed, small=setup.small)
            )
            for seed, side in sides
        )
        ours, theirs = str(root / "ours"), str(root / "theirs")
        largest = max(stored.size for shard in shards(Path(tuned)) for stored in shard.tensors.values())
        for name in EDITS:
            way = (base, tuned, name)
            timing = alternate(lambda w=way: by_slices(*w, ours), lambda: copy(base, tuned, theirs), rounds)
            yield timed("edits", f"{name} seconds", timing, 0.0)
            held = peak("by_slices", *way, ours)
            yield Result("edits", f"{name} bytes above the start", held, largest, 0.0, unit="bytes")
            if name == "wise_ft":
                timing = alternate(lambda w=way: by_slices(*w, ours), lambda w=way: plain(*w, theirs), rounds)
                worst = difference(root / "ours", root / "theirs")
                yield timed("edits", f"plain {name} seconds", timing, worst)
                yield Result("edits", f"plain {name} bytes", held, peak("plain", *way, theirs), worst, unit="bytes")
        if _mergekit_runs():
            way = (base, tuned, "wise_ft")
            timing = alternate(lambda: by_slices(*way, ours), lambda: mergekit(base, tuned, theirs), rounds)
            worst = difference(root / "ours", root / "theirs")
            yield timed("edits", "mergekit wise_ft seconds", timing, worst)
            held, other = peak("by_slices", *way, ours), peak("mergekit", base, tuned, theirs)
            yield Result("edits", "mergekit wise_ft bytes", held, other, worst, unit="bytes")


if __name__ == "__main__":
    main("edits", (__doc__ or "").split("\n")[0], cases)
