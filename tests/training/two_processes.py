"""Started by `accelerate launch` from test_processes: trains and leaves its log in the folder it is given."""

import sys
from pathlib import Path

from holdfast.methods.full import Full
from holdfast.methods.prompt_tuning import PromptTuning
from tests.training import tiny

for name, method in (("full", Full()), ("prompt", PromptTuning(length=4))):
    run = tiny.trainer(Path(sys.argv[1]) / name, method, batch_size=5, token_budget=16, save_every=2)
    run.validate = lambda model: float(sum(p.sum() for p in model.parameters()))
    run.train()
