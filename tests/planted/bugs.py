# ruff: noqa: E501 (pieces of code stand as they stand)
"""Wrong versions of the code that the suite must notice: each is one change of text, and the tests that must fail with it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bug:
    """`old` stands once in `file` below `holdfast/`, and becomes `new`; then one of `tests` below `tests/` must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: str


GROUPS: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    # tests: (name, file, old, new)
    "evaluation/test_matrix.py": (
        ("the limit takes the first items", "evaluation/matrix.py",
         'sorted(random.Random(f"{name}:{seed}").sample(range(n), limit))', "list(range(limit))"),
        ("demonstrations come from the test split", "evaluation/matrix.py",
         'pool = task.splits.get("train") or', 'pool = task.splits.get("test") or'),
        ("stop strings are dropped", "evaluation/matrix.py", "    stop = task.template.stop\n", "    stop = ()\n"),
        ("a choice's log-likelihood is asked without its delimiter", "evaluation/matrix.py",
         "text.target.removesuffix(example.target) + choice", "choice"),
        ("a prompt takes no room", "evaluation/matrix.py",
         "- (0 if model.prompt is None else len(model.prompt))", "- 0"),
        ("answers are as short as the shortest that was trained", "evaluation/matrix.py",
         "math.ceil(1.5 * max(counts))", "min(counts)"),
    ),
    "results/test_score.py evaluation/test_matrix.py": (
        ("backward transfer with the wrong sign", "results/score.py",
         'named = {"transfer": moved.value,', 'named = {"transfer": -moved.value,'),
        ("a change is measured against the base with other shots", "results/score.py",
         'cells.get(("base", None, *key[2:4], None))', 'cells.get(("base", None, key[2], 0, None))'),
        ("chance ignores choices that are spelled alike", "results/score.py",
         "1 / len(set(output.choices))", "1 / len(output.choices)"),
    ),
    "results/test_verdicts.py": (
        ("all roles are one family of tests", "results/verdicts.py",
         "families[score.prompt, score.role]", 'families[score.prompt, ""]'),
        ("points along the way enter the family", "results/verdicts.py",
         " and score.p is not None and score.step is None", " and score.p is not None"),
        ("the noise floor is ignored", "results/verdicts.py",
         "max(floor * unit, noise.get(scores[i].key[2:], 0.0))", "floor * unit"),
    ),
    "results/test_summary.py": (
        ("general tasks are read with the prompt attached", "results/summary.py",
         '"general": ("off", None, "on")', '"general": ("on", None, "off")'),
    ),
    "studies/test_results.py": (
        ("Holm over all measures at once", "studies/results.py",
         'record["measure"] == measure and record[kind]', "record[kind]"),
        ("arms are resampled with the prompt attached", "studies/results.py",
         '"general": ("off", None)}', '"general": ("on", None)}'),
    ),
    "studies/test_results.py studies/test_runner.py": (
        ("every seed of a cell is the first", "studies/results.py",
         "_measures(scores[target, arm.name, seed], own", "_measures(scores[target, arm.name, 0], own"),
    ),
    "studies/test_runner.py": (
        ("every run of a study has seed 0", "studies/runner.py", '"seed": seed,', '"seed": 0,'),
        ("runs of a study share no stages", "studies/runner.py", '"stage_root": folder / "stages",', '"stage_root": None,'),
        ("points of the curve are one step late", "training/loop.py",
         "if step + 1 in points and self.accelerator.is_main_process:\n                    checkpoint.write_file(self._moving, checkpoint.point(self.folder, step + 1))",
         "if step + 2 in points or step + 1 == self.settings.steps:\n                    checkpoint.write_file(self._moving, checkpoint.point(self.folder, min(step + 2, self.settings.steps)))"),
        ("general tasks along the way are asked behind the prompt", "stages/measure.py",
         'prompt="off" if owners else None, **asked.of_general()',
         'prompt="on" if owners else None, trained_prompt=owners[0][0] if owners else None, **asked.of_general()'),
        ("stage 1 is measured on the weights of stage 2", "stages/measure.py",
         '"prompt": "on", "tuned": last.start, "trained_prompt": stage}\n            found += _run(root, Evaluate("evaluate-prompt", **shared, step=0',
         '"prompt": "on", "tuned": last, "trained_prompt": stage}\n            found += _run(root, Evaluate("evaluate-prompt", **shared, step=None or 0'),
        ("a finished stage runs again", "stages/stage.py", "if not (folder / MARK).exists():", "if True:"),
        ("label masses are those of other items", "stages/evaluate.py",
         "for output, mass in zip(outputs, masses, strict=True)", "for output, mass in zip(outputs, masses[::-1], strict=True)"),
    ),
    "recipes/test_runs.py": (
        ("the base is asked all items of the general tasks", "stages/measure.py",
         "    others = Evaluate(name, **how, **asked.of_others())", '    others = Evaluate(name, **how, **asked.of_others() | {"limit": None})'),
        ("the prompt counts for nothing where rows are cut", "stages/train.py",
         "max_length=min(self.max_length, pretrained.max_length) - before", "max_length=min(self.max_length, pretrained.max_length)"),
        ("resuming with another configuration is accepted", "stages/assemble.py",
         "if changed and started and not overwrite:", "if False:"),
        ("a run is tuned with seed 0, whatever is said", "recipes/plan.py", '{"seed": self.seed, **defaults', '{"seed": 0, **defaults'),
        ("the second measurement of the base is the first again", "stages/measure.py",
         '"demonstrations": "sampled", "batch_tokens": 4096', '"batch_tokens": 4096'),
        ("the run's folder holds the first stage's log alone", "stages/assemble.py",
         "for folder in stages if (log := RunFolder(folder).log_file)", "for folder in stages[:1] if (log := RunFolder(folder).log_file)"),
        ("validation looks at all examples", "stages/train.py", "limit=self.validation_limit,", "limit=None,"),
        ("a tuned model with its prompt removed is measured with it", "stages/evaluate.py",
         'if self.prompt != "on":\n            return None', 'if "trained_prompt" not in inputs:\n            return None'),
    ),
    "recipes/test_several_targets.py": (
        ("the prompts of several targets are swapped", "api/tune.py",
         "{names[t]: trained[place] for t, place in prompts.items()}",
         "{names[t]: trained[place] for t, place in zip(prompts, [*prompts.values()][::-1], strict=True)}"),
        ("every target trains behind the first prompt", "stages/train.py",
         "return place if self.prompts else", "return 0 if self.prompts else"),
        ("the run's model is that of the first stage", "stages/assemble.py", '{"": found[-1]}', '{"": found[0]}'),
        ("a target's own stage is measured on the last weights", "stages/measure.py",
         '                variant="own-stage",\n                tuned=stage,', '                variant="own-stage",\n                tuned=stages[-1],'),
        ("the fingerprints of targets are shifted by one", "stages/measure.py",
         "self.versions[1 + list(self.targets)", "self.versions[0 + list(self.targets)"),
        ("the second prompt starts from the base", "recipes/promot_sequential.py",
         'prompt = fields.train("prompt", PromptTuning, tasks=(task,), start=before)', 'prompt = fields.train("prompt", PromptTuning, tasks=(task,))'),
        ("full fine-tuning in turn starts from the base each time", "recipes/full_sequential.py", ", start=before)", ")"),
        ("a mixture takes the first stream alone", "training/batches.py",
         "return [next(dealt[place % count]) for place in places]", "return self.streams[0].batch(step)"),
        ("several targets count with their scales", "stages/train.py",
         "kind.value(outputs) / (kind.scale if len(asked) > 1 else 1.0)", "kind.value(outputs)"),
    ),
    "recipes/test_adapters.py": (
        ("a merged LoRA is merged again", "models/resolve.py",
         'if stage is not None and whole is None and (stage / "adapter")', 'if stage is not None and (stage / "adapter")'),
    ),
    "recipes/test_names.py": (
        ("a joining method takes part in stage 1", "recipes/plan.py", 'if any(kind.stage == "model" for kind in kinds):', "if True:"),
    ),
    "recipes/test_fticl.py": (
        ("FTICL draws its demonstrations", "recipes/fticl.py", 'sampling="first"', 'sampling="sampled"'),
    ),
    "recipes/test_plan.py recipes/test_names.py": (
        ("the fixed prompt trains", "recipes/fixed_prompt.py", 'pinned={"steps": 0}, ', ""),
        ("ProMoT with one shot has none in stage 2", "recipes/promot_one_shot.py",
         'prompts=prompts, demonstrations=1, sampling="sampled")]', "prompts=prompts)]"),
    ),
    "training/test_stop_at.py": (
        ("training goes on at exactly the goal", "training/loop.py", "best >= goal", "best > goal"),
    ),
    "training": (
        ("only the first parameter is clipped", "training/loop.py",
         "clip_grad_norm_(list(self._moving.values()), ", "clip_grad_norm_(list(self._moving.values())[:1], "),
        ("the latest of equal validation scores is kept", "training/loop.py", 'values[0] > progress["best"]', 'values[0] >= progress["best"]'),
        ("norms and biases decay", "training/settings.py",
         '"weight_decay": self.weight_decay if group.weight_decay else 0.0,', '"weight_decay": self.weight_decay,'),
    ),
    "results/test_metrics.py": (
        ("accuracy_norm counts characters", "results/metrics.py", "len(choice.encode())", "len(choice)"),
    ),
    "inference/test_beam_search.py": (
        ("a beam's length leaves out its end", "inference/beam_search.py",
         "(score / len(tokens), tokens[:-1]", "(score / max(1, len(tokens) - ended), tokens[:-1]"),
    ),
    "methods/test_prompt_tuning.py": (
        ("the prompt's rate is absolute", "methods/prompt_tuning.py",
         "ParameterGroup([trained(model).vectors], embedding_rms(model.model), weight_decay=False)",
         "ParameterGroup([trained(model).vectors], weight_decay=False)"),
    ),
    "stages/test_train.py": (
        ("validation is asked without the prompt", "stages/train.py",
         "attached = None if prompt is None else model.attached(prompt)", "attached = None"),
        ("stage 2 trains behind zeros", "stages/train.py",
         'model.prompts.append(load.load_prompt(inputs[f"prompts.{place}"] / "prompt", pretrained))',
         'model.prompts.append(load.load_prompt(inputs[f"prompts.{place}"] / "prompt", pretrained)); [p.data.zero_() for p in model.prompts[-1].parameters()]'),
    ),
}  # fmt: skip

BUGS = tuple(Bug(*entry, tests) for tests, entries in GROUPS.items() for entry in entries)
