"""Texts like those of the lab model's pretraining, for methods that replay general text.

Run `python -m holdfast.lab.replay_texts --out FILE`.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

from holdfast.atomic_files import write_text
from holdfast.lab import documents
from holdfast.lab import vocabulary as w


def texts(count: int, seed: int = 0) -> list[str]:
    """Return `count` few-shot documents of the general skills, none of which holds a question of a validation or test split."""
    # A generator for each: the first n texts are the same whatever the count.
    made = (documents.few_shot(Random(f"{seed}/{i}"), largest=3).tokens for i in range(count))
    return [" ".join(word for word in tokens if word not in w.SPECIAL) for tokens in made]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, which writes one JSON object with a `text` a line."""
    parser = argparse.ArgumentParser(prog="python -m holdfast.lab.replay_texts", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    lines = (json.dumps({"text": text}) + "\n" for text in texts(options.count, options.seed))
    write_text(options.out, "".join(lines))


if __name__ == "__main__":
    main()
