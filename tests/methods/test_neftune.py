"""NEFTune: the noise is that of the published code, in the forwards of a step alone, and drawn again by a run that goes on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.integrations.neftune import neftune_post_forward_hook

from holdfast.methods.base import Context, Method
from holdfast.methods.ewc import Ewc
from holdfast.methods.full import Full
from holdfast.methods.joint import Joint
from holdfast.methods.kl_base import KlBase
from holdfast.methods.lora import Lora
from holdfast.methods.neftune import Neftune
from holdfast.prefix.model import PrefixModel
from holdfast.row import Row
from holdfast.training.loop import Training
from tests.training import tiny

WIDTH = 32


def prepared(step: int = 0, **fields: Any) -> PrefixModel:
    """A model in a step of training with the noise."""
    method, run = Neftune(**fields), tiny.trainer(Path("."), Full())
    context = Context(run.model, run.pretrained, steps=100, step=step)
    method.prepare(context)
    method.batch(tiny.rows(2), context)
    return run.model.train()


@contextmanager
def reading(model: PrefixModel) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """The vectors that the model's body reads within the context, with those that its words have."""
    seen: list[tuple[Tensor, Tensor]] = []
    words: list[Tensor] = []
    table = model.model.get_input_embeddings()

    def look_up(module: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        words.append(module.weight[inputs[0]])

    def read(module: Any, inputs: Any, named: dict[str, Any]) -> None:
        seen.append((named["inputs_embeds"].detach(), words[-1].detach()))

    handles = [table.register_forward_hook(look_up), model.model.register_forward_pre_hook(read, with_kwargs=True)]
    yield seen
    for handle in handles:
        handle.remove()


def noise(model: PrefixModel, rows: list[Row]) -> Tensor:
    """What the words of one forward were changed by, [T, D]."""
    with reading(model) as seen:
        model(rows)
    vectors, words = seen[-1]  # Before its first forward a model is tried out.
    return (vectors - words)[0]


def test_the_noise_of_a_row_is_that_of_transformers() -> None:
    """To rounding of the sum: the same generator draws the same numbers, and another bound or width would scale them all."""
    row = tiny.rows(1)[0]
    model = prepared(step=3, alpha=7.0)
    ours = noise(model, [row])
    table: Any = torch.nn.Embedding(tiny.VOCABULARY, WIDTH)
    table.neftune_noise_alpha = 7.0
    words = table(torch.tensor([row.tokens]))
    torch.manual_seed(Context(model, tiny.pretrained(), step=3).generator(0).initial_seed())
    # The last token is read by nobody, and left out.
    expected = (neftune_post_forward_hook(table, (), words) - words)[0, : len(ours)].detach()
    # 1e-6: float32 of sums below 4, taken apart again; the noise is up to 0.4.
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)


def test_the_noise_is_uniform_up_to_a_bound_by_the_longest_row() -> None:
    rows = tiny.rows(8)
    drawn = noise(prepared(alpha=5.0), rows)
    bound = 5 / (max(len(row.tokens) for row in rows) * WIDTH) ** 0.5
    assert drawn.abs().max() <= bound + 1e-6
    assert drawn.abs().max() > 0.99 * bound
    # Four standard errors of a uniform distribution's mean, and of its mean square (whose variance is 4/45 of the bound's fourth power).
    n = drawn.numel()
    assert abs(float(drawn.mean())) < 4 * bound / (3 * n) ** 0.5
    assert abs(float(drawn.pow(2).mean()) / bound**2 - 1 / 3) < 4 * (4 / 45 / n) ** 0.5


def test_it_is_drawn_anew_for_each_step_and_seed_and_forward() -> None:
    rows = tiny.rows(2)
    first = noise(prepared(), rows)
    assert torch.equal(noise(prepared(), rows), first)
    model = prepared()
    others = [noise(prepared(step=1), rows), noise(prepared(seed=1), rows), (noise(model, rows), noise(model, rows))[1]]
    assert all(not torch.allclose(other, first, atol=1e-3) for other in others)


def test_a_model_that_is_asked_reads_its_words_and_keeps_no_hook() -> None:
    model, rows = prepared(), tiny.rows(2)
    assert noise(model, rows).abs().max() > 0
    with torch.no_grad():
        assert not noise(model, rows).any()
    assert not noise(model.eval(), rows).any()
    assert not model.model.get_input_embeddings()._forward_hooks


def test_a_forward_that_fails_leaves_no_noise_behind() -> None:
    """The loop tries a forward again that lacked memory: with a hook left over, its noise would be added twice."""
    model, rows = prepared(), tiny.rows(2)
    handle = model.model.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("out of memory")))
    with pytest.raises(RuntimeError, match="out of memory"):
        model(rows)
    handle.remove()
    assert not model.model.get_input_embeddings()._forward_hooks


def test_a_soft_prompt_gets_none(tmp_path: Path) -> None:
    run = Training(tiny.trainer(tmp_path, Joint(length=4), Neftune(alpha=50.0), steps=1))
    with reading(run.model) as seen:
        run.step(0)
    vectors = run.model.prompts[0]().detach()
    read, words = seen[-1]
    # The prompt has moved by one step of 1e-2 since it was read; the noise would be up to 50 / sqrt(12 * 32) = 2.6.
    assert torch.cdist(read[0], vectors).min(0).values.max() < 0.1
    assert (read - words)[0].abs().max() > 1


def test_an_alpha_of_zero_is_the_plain_run_bit_by_bit_and_another_is_not(tmp_path: Path) -> None:
    weights = []
    for name, beside in (("plain", ()), ("off", (Neftune(alpha=0),)), ("on", (Neftune(),))):
        run = tiny.trainer(tmp_path / name, Full(), *beside)
        run.train()
        weights.append(tiny.weights(run))
    plain, off, noisy = weights
    assert all(torch.equal(weight, off[name]) for name, weight in plain.items())
    assert not all(torch.equal(weight, noisy[name]) for name, weight in plain.items())


@pytest.mark.parametrize(
    "methods",
    [[Full(), Neftune()], [Lora(rank=2), Neftune()], [Full(), Neftune(), KlBase()], [Full(), KlBase(), Neftune()]],
    ids=lambda methods: "+".join(type(method).__name__ for method in methods),
)
def test_a_run_that_goes_on_draws_the_same_noise(methods: list[Method], tmp_path: Path) -> None:
    def make(folder: Path, **settings: Any) -> Any:
        return tiny.trainer(folder, *methods, **settings)

    assert tiny.resumes(make, tmp_path)


def test_importances_beside_it_are_of_the_words_as_they_are(tmp_path: Path) -> None:
    """Whichever is named first: importances are measured with gradients, before the first step."""
    weights = []
    for name in ("before", "after"):
        pair = [Neftune(), Ewc(samples=2, sample_length=4)]
        run = tiny.trainer(tmp_path / name, Full(), *(pair if name == "before" else pair[::-1]))
        run.train()
        weights.append(tiny.weights(run))
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())


def test_the_base_beside_it_reads_no_noise(tmp_path: Path) -> None:
    """Before the first step model and base are equal, and what parts their predictions is the noise of the model alone."""
    losses = []
    for strength in (0.0, 1.0):
        run = tiny.trainer(tmp_path / str(strength), Full(), Neftune(), KlBase(strength=strength), steps=1)
        run.train()
        losses.append(tiny.losses(run.folder)[0])
    assert losses[1] > losses[0] + 1e-3
