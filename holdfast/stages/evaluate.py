"""An evaluation stage: one model, with its prompt attached or removed, on many tasks at several shots."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import chain, groupby, islice, product
from pathlib import Path
from typing import Any, ClassVar

from holdfast.atomic_files import whole
from holdfast.decoding.base import Decoding
from holdfast.evaluation.answer_files import AskedTask, Share, ask_cells, join
from holdfast.evaluation.ask import shots_of, with_mass
from holdfast.evaluation.matrix import PART, Asking, Variant
from holdfast.evaluation.progress import AskingProgress, task_items
from holdfast.inference.language_model import LanguageModel
from holdfast.inference.model import Model
from holdfast.inference.served_model import served
from holdfast.models.endpoint import endpoint_of
from holdfast.models.loading import Pretrained
from holdfast.models.precision import FP32, Loading
from holdfast.prefix.attached import Prompt, detached
from holdfast.prefix.model import PrefixModel
from holdfast.prompts import load
from holdfast.results import symptoms
from holdfast.results.metrics import metric
from holdfast.results.run_folder import RunFolder
from holdfast.results.scores import Output, PromptState, Role, StoredOutputs, StreamedOutputs
from holdfast.stages.edit import EditModel
from holdfast.stages.loader import Loader, weights_of
from holdfast.stages.stage import Inputs, Stage, content_of, execute, folder_of
from holdfast.stages.train import Train
from holdfast.tasks.task_set import TaskRef
from holdfast.training.processes import processes

MASSES = "mass.json"
BLOCK = 1 << 16  # Characters that are read at a time.


@dataclass(frozen=True)
class Evaluate(Stage):
    """Ask one variant every task at every number of shots and keep each answer in `outputs.jsonl`.

    The variants are `base`, the untuned model; `tuned`, the weights that the stage `tuned` left; `base-again`, the base measured a second
    time, with other demonstrations (sampled, or the next nearest) and in other batches: how far that moves a number is its noise floor;
    and `own-stage`, the weights right after the stage that trained on the targets, before later ones.

    `trained_prompt` is the stage whose `prompt/` is attached when `prompt` is "on", or "probe" where it is one; `attached` the folder of a
    prompt that no stage trained. With `step`, `tuned` is measured as it was after that many steps; at step 0, which begins a course, as it
    ended. `before` are the steps of rounds before it, which count on. `demonstrations` are the first ones or the nearest to each item
    (`nearest`). `tasks` stand in the order of the answers: targets, general tasks, diagnostics. With `toward`, general tasks are also
    asked how probable an answer of that task is (of the base, which other targets share, `LabelMass` asks). `date` is as in `Train`.
    `decoding` is what the answers are written with; None: the model alone. `base` is what an adapter that is `model` stands on, where that
    is not what its configuration names.
    """

    KIND: ClassVar[str] = "Evaluate"
    HASH_LATER: ClassVar[dict[str, object]] = {
        "date": None,
        "decoding": None,
        "attached": "",
        "loading": FP32,
        "before": None,
        "base": "",
    }

    model: str = ""
    variant: Variant = "base"
    prompt: PromptState = None
    tuned: Train | EditModel | None = None
    trained_prompt: Train | None = None
    tasks: tuple[TaskRef, ...] = ()
    shots: tuple[int, ...] = (0,)
    demonstrations: str = "first"
    batch_tokens: int = 8192
    toward: TaskRef | None = None
    limit: int | None = None
    seed: int = 0
    step: int | None = None
    model_version: str = ""
    trust_remote_code: bool = False
    date: str | None = None
    decoding: Decoding | None = None
    attached: str = ""
    loading: Loading = FP32
    before: int | None = None
    base: str = ""

    def hashed(self) -> dict[str, Any]:
        """Return the fields; tasks by their role, and the fingerprints of the model and of the tasks in one list, as folders have it."""
        content = content_of(self)
        del content["tasks"], content["model_version"]
        keys: dict[Role, str] = {"target": "targets", "general": "general", "diagnostic": "diagnostics"}
        # Three lists, as the fields were before: the folders of finished evaluations stay valid.
        by_role = {key: self._with_role(role) for role, key in keys.items()}
        return content | by_role | {"versions": (self.model_version, *(ref.version for ref in self.tasks))}

    def _with_role(self, role: Role) -> tuple[TaskRef, ...]:
        return tuple(ref for ref in self.tasks if ref.role == role)

    def run(self, folder: Path, inputs: Inputs) -> None:
        """Write `outputs.jsonl`; each task and number of shots stands in `parts/` until all are there, so a killed run goes on."""
        label = f"{self.variant}" + (f", prompt {self.prompt}" if self.prompt else "")
        label += f", step {self.moment}" if self.moment is not None else ""
        if self.variant == "tuned" and self.tuned is None and self.moment is None:  # a model that no stage of ours made
            label += f": {self.model}"
        state, cells, parts = processes(), self._cells(), folder / "parts"
        shown = AskingProgress(
            label,
            [task_items(cell.task, self.limit) for cell in cells],
            silent=inputs.quiet or not state.is_main_process,
        )
        with ExitStack() as stack, shown as progress:
            # Late, because an evaluation that only has to be put together needs no model.
            model = cache(lambda: stack.enter_context(self.asking(folder, inputs)))
            share = Share(state.process_index, state.num_processes)
            files = ask_cells(cells, parts, model, progress, decoding=self.decoding, step=self.moment, share=share)
        state.wait_for_everyone()
        if state.is_main_process:
            join(list(chain.from_iterable(files)), folder / "outputs.jsonl")
            shutil.rmtree(parts, ignore_errors=True)

    def _cells(self) -> list[AskedTask]:
        """Return what is asked, task by task: this stage's configuration fixes the order."""
        cells = []
        for ref, shots in chain.from_iterable(product([ref], shots_of(ref.task, self.shots)) for ref in self.tasks):
            general = ref.role == "general"
            asking = Asking(
                role=ref.role, shots=shots, limit=self.limit, seed=self.seed, variant=self.variant, prompt=self.prompt,
                generate_choices=general, demonstrations=self.demonstrations,
                demonstration_seed=int(self.variant == "base-again"),
            )  # fmt: skip
            target = self.toward.task if self.toward and general else None
            cells.append(AskedTask(ref.task, asking, target))
        return cells

    @property
    def moment(self) -> int | None:
        """Return the step under which the answers stand in the course of a run, those of earlier rounds counted; None at the end."""
        return None if self.step is None and self.before is None else (self.before or 0) + (self.step or 0)

    def weights(self, root: Path) -> tuple[Path | None, int]:
        """Return what tells the weights that are measured from others: the folder of the stage that left them, and the step."""
        return (None if self.tuned is None else weights_of(folder_of(self.tuned, root))), self.step or 0

    @contextmanager
    def asking(self, folder: Path, inputs: Inputs) -> Iterator[LanguageModel]:
        """Yield what is asked: the model that this stage measures, or the one behind a server, with its decoding."""
        endpoint = endpoint_of(self.model) if self.tuned is None else None
        with ExitStack() as stack:
            model = self.load(inputs) if endpoint is None else stack.enter_context(served(endpoint, folder))
            if any(metric(ref.task.metric).needs_likelihoods for ref in self.tasks):
                model.check_ranks()
            yield model if self.decoding is None else self.decoding.wrap(model)

    def load(self, inputs: Inputs) -> Model:
        """Return the model that this stage measures."""
        tuned = inputs.get("tuned")
        # Weights along the way are no model folder: the stage rebuilds its model and reads them into it.
        if self.step and tuned is not None:
            assert isinstance(self.tuned, Train)
            pretrained, model = self.tuned.at(self.step, tuned.folder, tuned.inputs(inputs.loader))
            return Model(pretrained, self._attached(inputs, pretrained, model))
        folder = None if tuned is None else tuned.folder
        pretrained = inputs.loader.load(
            self.model, folder, base=self.base or None, loading=self.loading, trust_remote_code=self.trust_remote_code, date=self.date
        )  # fmt: skip
        return Model(pretrained, self._attached(inputs, pretrained), self.batch_tokens)

    def _attached(self, inputs: Inputs, pretrained: Pretrained, model: PrefixModel | None = None) -> Prompt | None:
        """Return the prompt to attach: that of a finished stage, or the one that the model itself was training at this step."""
        if self.prompt not in ("on", "probe"):
            return None
        # A stage that trains prompt and weights together has moved both by this step; its folder has the last prompt only.
        if model is not None and self.trained_prompt == self.tuned:
            return model.attached(len(model.prompts) - 1)
        folder = Path(self.attached) if self.attached else inputs["trained_prompt"].prompt()
        return detached(load.load_prompt(folder, pretrained)())

    def outputs(self, root: Path, loader: Loader | None = None) -> StoredOutputs:
        """Return the answers, which stay on the disk; the stage is run where that was not done."""
        return StoredOutputs([self.answers_file(root, loader)])

    def answers_file(self, root: Path, loader: Loader | None = None) -> Path:
        """Return the file of the answers; the stage is run where that was not done."""
        return RunFolder(execute(self, root, loader)).outputs_file


@dataclass(frozen=True)
class LabelMass(Stage):
    """Measure the probability of an answer of the task `toward` at each general item that `evaluated` asked.

    It is all of an evaluation of the base that depends on the target, and a small part of its time: the rest is done once for
    every target.
    """

    KIND: ClassVar[str] = "LabelMass"

    evaluated: Evaluate
    toward: TaskRef

    def hashed(self) -> dict[str, Any]:
        """Return the fields, with the target's fingerprint."""
        return {**content_of(self), "version": self.toward.version}

    def run(self, folder: Path, inputs: Inputs) -> None:
        """Write `mass.json`: a number for each line of the evaluation's `outputs.jsonl`, null where the target has no labels of its own."""
        if not processes().is_main_process:
            return
        target, evaluated = self.toward.task, inputs["evaluated"]
        tasks = {ref.task.name: ref.task for ref in self.evaluated.tasks if ref.role == "general"}
        labels = {name: symptoms.foreign_labels(target, task) for name, task in tasks.items()}
        model = self.evaluated.load(evaluated.inputs(inputs.loader)) if any(labels.values()) else None
        answers = StoredOutputs([RunFolder(evaluated.folder).outputs_file])
        # A part at a time, as evaluations ask: of many items neither answers nor numbers are held.
        with whole(folder / MASSES) as part, part.open("w", encoding="utf-8") as file:
            file.write("[")
            separator = ""
            for (name, _), group in groupby(answers, key=lambda output: (output.task, output.shots)):
                while outputs := list(islice(group, PART)):
                    if model and labels.get(name):
                        outputs = with_mass(model, tasks[name], labels[name], outputs)
                    masses = (json.dumps(output.scores.get("first_token_mass")) for output in outputs)
                    file.write(separator + ", ".join(masses))
                    separator = ", "
            file.write("]")
            file.flush()
            os.fsync(file.fileno())

    def weights(self, root: Path) -> tuple[Path | None, int]:
        """Return what tells the weights that are measured from others."""
        return self.evaluated.weights(root)

    def outputs(self, root: Path, loader: Loader | None = None) -> StreamedOutputs:
        """Return the evaluation's answers, each with its mass; both stages are run where that was not done."""
        path, answers = execute(self, root, loader) / MASSES, self.evaluated.outputs(root)

        def made() -> Iterator[Output]:
            for output, mass in zip(answers, _numbers(path), strict=True):
                yield output if mass is None else replace(output, scores={**output.scores, "first_token_mass": mass})

        return StreamedOutputs(made)


def _numbers(path: Path) -> Iterator[float | None]:
    """Yield the numbers of a list in a JSON file, which is not held."""
    rest = ""
    with path.open(encoding="utf-8") as file:
        for block in iter(partial(file.read, BLOCK), ""):
            *texts, rest = (rest + block).split(",")
            yield from (json.loads(text.strip("[ ")) for text in texts)
    yield json.loads(rest.strip("[] "))
