"""The lm-evaluation-harness, both ways: our models under its tasks, and its tasks beside ours (`pip install 'holdfast[harness]'`).

Under its own command, or from Python:

    lm_eval.simple_evaluate(model=HarnessModel(model), tasks=["piqa"])

Beside our tasks, so that its marks get our paired statistics; its own standard errors are not used:

    tasks = load("harness:piqa")
    outputs = [o for task in tasks for o in evaluate(model, task)]
    compute_scores.score(outputs, tasks)

`harness:NAME@FOLDER` is a task that the task files (YAML) of a folder describe, instead of the harness's own.
"""

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from holdfast.evaluation.matrix import FEWEST_NEW_TOKENS, Asking, clean, decoding_in_words, items_of
from holdfast.inference.language_model import LanguageModel
from holdfast.inference.sampling import Sampling
from holdfast.results.scores import Output
from holdfast.tasks.loaders.harness import harness_tasks, task_manager
from holdfast.tasks.task import HARNESS, Task

try:
    import lm_eval
    from lm_eval.api.model import LM
except ImportError as error:
    raise ValueError(f"{HARNESS} tasks need the lm-evaluation-harness; pip install 'holdfast[harness]'") from error


class HarnessModel(LM):
    """A language model of ours as the harness sees one. What many requests have in common is computed once, as everywhere here."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Return (log-likelihood, whether greedy) of each (context, continuation)."""
        return [(score.value, score.greedy) for score in self.model.loglikelihood([r.args for r in requests])]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Return the log-likelihood of each whole text, in nats."""
        return self.model.rolling([request.args[0] for request in requests])

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Return the continuation of each context, up to its stop strings.

        Raises:
            ValueError: a task asks for sampling.
        """
        # Requests of several tasks may come mixed, and one call of `generate` has one way of decoding.
        alike: dict[tuple[Any, ...], list[int]] = defaultdict(list)
        for index, request in enumerate(requests):
            alike[_decoding(request.args[1])].append(index)
        answers = [""] * len(requests)
        for (stop, new, beams), indices in alike.items():
            texts = [requests[index].args[0] for index in indices]
            continuations = self.model.generate(texts, Sampling(max_new_tokens=new, stop=stop, num_beams=beams))
            for index, answer in zip(indices, continuations, strict=True):
                answers[index] = answer
        return answers

    @property
    def tokenizer_name(self) -> str:
        """Return the name by which the harness keys its cache of rendered chats."""
        # It becomes part of a file's name, in which a slash would be a folder.
        return str(self.model.tokenizer.name_or_path).replace("/", "__")

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """Return the tokenizer's chat template, where one is asked for."""
        return self.model.tokenizer.chat_template if chat_template else None

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Return the conversation as text."""
        return self.model.tokenizer.apply_chat_template(
            chat_history, tokenize=False, add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )  # fmt: skip


def evaluate(model: LanguageModel, task: Task, asking: Asking | None = None) -> list[Output]:
    """Ask a task of `load` and keep each item with the harness's own mark. Items and demonstrations depend on task and seed alone.

    With `generate_choices` the model also writes freely where choices were ranked (`Output.generated`). Which demonstrations come first is
    the task's own business; `sampled` ones are others where it draws them.
    """
    asking = asking or Asking()
    name, _, folder = task.source.removeprefix(HARNESS).partition("@")
    documents = len(list(harness_tasks(name, folder)[name].eval_docs))
    fewshot_seed = asking.seed + (asking.demonstration_seed if asking.demonstrations == "sampled" else 0)
    ask: Any = lm_eval.simple_evaluate  # its decorator hides its parameters
    with _random_state_kept():
        results = ask(
            HarnessModel(model),
            tasks=[name],
            task_manager=task_manager(folder),
            num_fewshot=asking.shots,
            samples={name: items_of(task.name, documents, asking.limit, asking.seed)},
            bootstrap_iters=0,  # Its standard errors are not used, and 100,000 resamples take longer than a small model.
            fewshot_random_seed=fewshot_seed,
        )
    metric = task.metric.removeprefix("recorded:")
    samples: dict[int, Mapping[str, Any]] = {}
    for sample in results["samples"][name]:
        if metric in sample:
            samples.setdefault(sample["doc_id"], sample)  # the first of several filters
    sampling = f"the harness's own, seed {fewshot_seed}" if asking.shots else "none"
    outputs = [
        Output(
            asking.variant, asking.prompt, task.name, asking.role, asking.shots, index, **_item(sample, asking.generate_choices),
            scores={metric: float(sample[metric])}, demonstrations=sampling,
        )
        for index, sample in sorted(samples.items())
    ]  # fmt: skip
    return _written(model, task, outputs) if asking.generate_choices else outputs


def _written(model: LanguageModel, task: Task, outputs: list[Output]) -> list[Output]:
    """Return the outputs with the model's free answer, where choices were ranked."""
    ranked = [index for index, output in enumerate(outputs) if output.logprobs is not None]
    stop = task.template.stop
    texts = model.generate(
        [outputs[i].input for i in ranked], Sampling(max_new_tokens=FEWEST_NEW_TOKENS, stop=tuple(stop))
    )
    for index, text in zip(ranked, texts, strict=True):
        outputs[index] = replace(outputs[index], generated=clean(text, stop))
    return outputs


def _item(sample: Mapping[str, Any], generate_choices: bool) -> dict[str, Any]:
    """Return input, target, output and decoding of a harness sample; its choices where they follow one input."""
    requests, results = sample["arguments"], sample["filtered_resps"]
    target = sample["target"]
    settings = requests[0][1]  # of a text to write; a choice's own text where choices are ranked
    beams = int(settings.get("num_beams", 1)) if isinstance(settings, Mapping) else 0
    item = {
        "input": requests[0][0],
        "target": str(target),
        "output": results[0] if isinstance(results[0], str) else "",
        "decoding": decoding_in_words(ranked=not beams, written=generate_choices, num_beams=beams or 1),
    }
    # Several requests with several contexts are no choices: tasks such as winogrande score one ending behind two beginnings.
    if len(requests) > 1 and len({context for context, _ in requests}) == 1 and len(results) == len(requests):
        choices, values = tuple(text.strip() for _, text in requests), tuple(float(value) for value, _ in results)
        answer = choices[target] if isinstance(target, int) and 0 <= target < len(choices) else str(target)
        item |= {"target": answer, "choices": choices, "logprobs": values, "output": choices[int(np.argmax(values))]}
    return item


def _decoding(settings: Mapping[str, Any]) -> tuple[tuple[str, ...], int, int]:
    """Return stop strings, new tokens and beams of a task's generation settings.

    Raises:
        ValueError: they ask for sampling.
    """
    # At temperature 0 sampling is greedy, and some tasks write it so.
    if settings.get("do_sample") and settings.get("temperature", 1.0) > 0:
        raise ValueError(
            f"a harness task asks for sampling ({dict(settings)}), and only greedy or beam search repeats; choose another task"
        )
    until = settings.get("until") or ()
    stop = (until,) if isinstance(until, str) else tuple(until)
    # An empty stop string is everywhere, and would end each answer before it begins.
    return tuple(s for s in stop if s), int(settings.get("max_gen_toks", 256)), int(settings.get("num_beams", 1))


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Restore every random generator afterwards: the harness seeds them all for itself."""
    python, numpy, pytorch = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.random.set_rng_state(pytorch)
