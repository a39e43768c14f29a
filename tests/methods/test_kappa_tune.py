"""KappaTune: the layers of the smallest condition numbers train, and everything else keeps its bits."""

from pathlib import Path

import pytest
import torch
from peft.helpers import KappaTuneSelector

from holdfast.methods.kappa_tune import KappaTune, condition_number
from tests.training import tiny


def moved(tmp_path: Path, method: KappaTune) -> set[str]:
    """The layers whose weights a short run moved, by name, as the model calls them."""
    run = tiny.trainer(tmp_path, method, weight_decay=0.1)
    start = tiny.weights(run)
    run.train()
    names = {name for name, weight in tiny.weights(run).items() if not torch.equal(weight, start[name])}
    return {name.removeprefix("model.").removesuffix(".weight") for name in names}


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_the_layers_that_move_are_those_that_peft_selects(tmp_path: Path, share: float) -> None:
    body = tiny.pretrained().model.model  # Without the head, which ours never chooses.
    expected = {f"model.{name}" for name in KappaTuneSelector(body, show_progress=False).get_best_targets(top_p=share)}
    assert len(expected) == int(14 * share)
    assert moved(tmp_path, KappaTune(share=share)) == expected


def test_the_condition_number_of_a_known_matrix() -> None:
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0))).Q
    # float32: the noise is 1e-6; the squared singular values would give 16.
    assert condition_number(turn @ torch.diag(torch.tensor([8.0, 4.0, 2.0]))) == pytest.approx(4, rel=1e-4)


def test_target_narrows_the_choice(tmp_path: Path) -> None:
    chosen = moved(tmp_path, KappaTune(target="q_proj,v_proj", share=0.5))
    assert len(chosen) == 2
    assert all(name.endswith(("q_proj", "v_proj")) for name in chosen)


def test_the_smallest_share_is_one_layer_and_the_largest_all_linear_ones(tmp_path: Path) -> None:
    assert len(moved(tmp_path / "one", KappaTune(share=0.01))) == 1
    assert len(moved(tmp_path / "all", KappaTune(share=1.0))) == 14


def test_a_run_that_goes_on_ends_with_the_same_weights(tmp_path: Path) -> None:
    assert tiny.resumes(lambda folder, **s: tiny.trainer(folder, KappaTune(), **s), tmp_path)


def test_the_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is the head"):
        tiny.trainer(tmp_path, KappaTune(target="lm_head")).train()
