"""Several targets whose answers differ much in length: the long ones would be all of the loss."""

import json
from pathlib import Path

import pytest

from holdfast.api.tune import tune
from tests.recipes.worlds import write_world


@pytest.mark.parametrize(
    ("length", "method", "settings", "said"),
    [
        (40, "full", {}, True),
        (40, "full", {"model.loss_per": "target"}, False),
        (2, "full", {}, False),
        (40, "full_sequential", {}, False),
    ],
    ids=["long", "each row alike", "short", "one after another"],
)
def test_a_target_that_another_drowns_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], length: int, method: str, settings: dict[str, str], said: bool
) -> None:
    world = write_world(tmp_path, pick=["w3", "w4"])
    (tmp_path / "docs").mkdir()
    for split, count in (("train", 12), ("test", 4)):
        texts = [" ".join(f"w{3 + (i * j) % 30}" for j in range(length)) for i in range(1, count + 1)]
        lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        (tmp_path / "docs" / f"{split}.jsonl").write_text(lines)
    targets = [str(tmp_path / "docs"), str(world / "pick")]
    tune(
        str(world / "model"),
        targets,
        method,
        shots=(0,),
        limit=2,
        out=tmp_path / "run",
        **{"model.steps": 2, **settings},
    )
    printed = capsys.readouterr().err
    sentence = "times as long as those of pick, and each token counts the same, so that pick is hardly learned"
    assert (sentence in printed) is said
