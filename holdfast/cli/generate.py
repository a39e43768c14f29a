"""The command `generate`: texts of a file continued by a model."""

import sys
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli import options, output
from holdfast.cli.options import Model, Prompt, Seed, Trust


def generate(
    model: Model,
    prompt: Prompt = None,
    base: options.Base = None,
    input_: Annotated[
        Path | None,
        typer.Option(
            "--input",
            help="JSONL with `prompt` or `input`, or plain lines; given to the model as they are. Default: stdin.",
        ),
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 64,
    stop: Annotated[list[str] | None, typer.Option(help="Generation ends here; repeat it.")] = None,
    num_beams: Annotated[int, typer.Option(min=1)] = 1,
    temperature: Annotated[float, typer.Option(min=0, help="Draw tokens; 0 takes the likeliest each time.")] = 0.0,
    top_k: Annotated[int, typer.Option(min=0, help="Draw among so many of the likeliest tokens; 0: all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Draw among the likeliest tokens that have this probability.")] = 1.0,
    samples: Annotated[int, typer.Option(min=1, help="Draw so many continuations of each prompt.")] = 1,
    seed: Seed = 0,
    decode: options.Decode = None,
    set_: options.DecodeSet = None,
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    engine: options.Engine = "transformers",
    trust_remote_code: Trust = False,
) -> None:
    """Continue texts of a file, with the run's prompt attached or not: JSONL or lines in, JSONL out."""
    from holdfast.cli.prompt_lines import parse_prompts

    # Before torch is imported and a model loaded: a mistyped option should wait for neither.
    technique = output.decoding(decode, set_)
    content = input_.read_text(encoding="utf-8") if input_ else sys.stdin.read()
    texts = parse_prompts(content, str(input_ or "stdin"))
    from holdfast.api.load import LoadOptions, asking
    from holdfast.inference.sampling import Sampling

    sampling = Sampling(max_new_tokens, tuple(stop or ()), num_beams, temperature, top_k, top_p, seed, samples)
    opened = asking(model, LoadOptions(prompt, base, dtype, device, trust_remote_code), engine=engine)
    with opened as loaded:
        outputs = (loaded if technique is None else technique.wrap(loaded)).generate(texts, sampling)
        # As many lines a prompt as samples, in the order in which `generate` returns them.
        prompts = chain.from_iterable([text] * samples for text in texts)
        output.lines({"prompt": text, "output": answer} for text, answer in zip(prompts, outputs, strict=True))
        # Said, because the model answers a shortened prompt as readily as a whole one.
        if truncated := sum(loaded.cuts([(text, "") for text in texts], max_new_tokens)):
            print(
                f"holdfast: {truncated} of {len(texts)} prompts did not fit into the model's {loaded.room} "
                "positions beside the new tokens, and lost their beginning",
                file=sys.stderr,
            )
