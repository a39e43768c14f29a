"""The large model's course: its tokenizer, its documents, what it must never show, and the script from end to end."""

import json
import re
from pathlib import Path
from random import Random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from holdfast.lab import corpus, export, fewshot, pretrain, real_course
from holdfast.lab.abilities import encoded_items
from holdfast.lab.fewshot import BESIDE, FIRST
from holdfast.lab.learning import Pretraining
from holdfast.lab.settings import LabSettings, changed

SMALL = LabSettings(steps=40, tokens=512, micro=256, layers=2, width=32, heads=2, inner=64, positions=128)
SECRET = "zyxwv"  # stands in the targets and in test splits alone
TEXT = "the cat sat on a mat and saw 12 dogs, which were not amused; then rain fell over the quiet town"
WORDS = TEXT.split()


def sentence(rng: Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(4, 12))) + "."


def write_task(folder: Path, rng: Random, choices: tuple[str, ...] = (), word: str = "") -> None:
    """30 examples to train on, the first of which is in the test split too, and 5 to test."""

    def line(text: str) -> str:
        record: dict[str, object] = {"input": text, "target": rng.choice(choices) if choices else sentence(rng)}
        return json.dumps(record | ({"choices": choices} if choices else {})) + "\n"

    folder.mkdir(parents=True)
    train = [f"{word}{sentence(rng)}\nIs it {i}?" for i in range(30)]
    train[0] = f"{SECRET} {train[0]}"
    (folder / "train.jsonl").write_text("".join(map(line, train)))
    (folder / "test.jsonl").write_text("".join(map(line, [train[0], *(f"{SECRET} {i}?" for i in range(4))])))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A corpus folder and a folder of task folders."""
    root, rng = tmp_path_factory.mktemp("large"), Random(0)
    texts, tasks = root / "corpus", root / "tasks"
    texts.mkdir()
    for name, count in (("a", 200), ("b_heldout", 60)):
        parts = ["\n".join(sentence(rng) for _ in range(8)) for _ in range(count // 8)]
        (texts / f"{name}.txt").write_text("\n\n<|doc|>\n\n".join(parts))
    write_task(tasks / "sst2", rng, ("positive", "negative"))
    write_task(tasks / "function_vectors" / "plural", rng)
    write_task(tasks / "rte", rng, ("entailment", "not_entailment"), word=f"{SECRET} ")
    return texts, tasks


@pytest.fixture(scope="module")
def course(sources: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> real_course.Real:
    folder = tmp_path_factory.mktemp("prepared") / "data"
    real_course.prepare(sources[0], sources[1], folder, SMALL.positions)
    return real_course.Real(SMALL, sources[1], folder)


def test_text_comes_back_exactly_and_a_newline_is_always_a_token(course: real_course.Real) -> None:
    text = "Voilà — 12  spaces \n\n\nZürich\tand 'quotes'\n"
    ids = course.encode(text)
    assert course.tokenizer.decode(ids) == text
    assert [course.tokenizer.decode(i) for i in ids].count("\n") == text.count("\n")
    assert course.tokenizer(text)["input_ids"] == [course.tokenizer.bos_token_id, *ids]


def test_pieces_cut_at_newlines_give_the_tokens_of_the_whole(course: real_course.Real, monkeypatch) -> None:
    text = "\n".join(sentence(Random(i)) for i in range(40)) + "\n\nend"
    whole = corpus.stream(course.tokenizer, text).tolist()
    monkeypatch.setattr(corpus, "PIECE", 50)
    assert len(list(corpus.pieces(text))) > 10
    assert corpus.stream(course.tokenizer, text).tolist() == whole


@pytest.mark.parametrize("seed", range(12))
def test_a_document_has_the_tokens_of_its_text(course: real_course.Real, seed: int) -> None:
    """As they are when someone asks the model: pieces tokenised apart must not part words otherwise than the whole."""
    for place in range(2):
        document = fewshot.few_shot(Random(seed), course.examples, place, course.encode)
        text = course.tokenizer.decode(document.ids).removeprefix("<s>").removesuffix("</s>")
        assert course.encode(text) == document.ids[1:-1]
        assert len(document.ids) == len(document.weights)


def weighed(course: real_course.Real, document: fewshot.TokenDocument, *weights: float) -> str:
    """The tokens of a document with one of these weights, as text; what ends an answer left out."""
    ends = course.encode("\n</s>")
    pairs = zip(document.ids, document.weights, strict=True)
    return course.tokenizer.decode([i for i, weight in pairs if weight in weights and i not in ends])


@pytest.mark.parametrize("seed", range(6))
def test_the_weight_is_on_the_answers(course: real_course.Real, monkeypatch, seed: int) -> None:
    monkeypatch.setattr(fewshot, "RELABELLED", 0.0)
    document = fewshot.few_shot(Random(seed), course.examples, 1, course.encode)
    answers = weighed(course, document, 1.0, FIRST).split()
    assert set(answers) <= {"positive", "negative"}
    assert len(answers) == course.tokenizer.decode(document.ids).count("Is it")


@pytest.mark.parametrize("seed", range(6))
def test_a_label_without_meaning_is_learned_where_something_explains_it(
    course: real_course.Real, monkeypatch, seed: int
) -> None:
    monkeypatch.setattr(fewshot, "RELABELLED", 1.0)
    document = fewshot.few_shot(Random(seed), course.examples, 1, course.encode)
    text = course.tokenizer.decode(document.ids)
    assert "positive" not in text
    assert "negative" not in text
    listed = "Answer with one of" in text
    first, rest = (weighed(course, document, weight).split() for weight in (2 * BESIDE, 1.0))
    assert set(first + rest) <= set(fewshot.LABELS)
    assert len(set(first + rest)) <= 2
    assert len(first) == (not listed)
    assert len(first + rest) == text.count("Is it")


def test_documents_are_worded_as_evaluation_asks(course: real_course.Real, monkeypatch) -> None:
    """In the wording that most have, a document reads as the few-shot question of its task."""
    monkeypatch.setattr(fewshot, "OFTEN", (1, 0, 0, 0))
    monkeypatch.setattr(fewshot, "LISTED", 0.0)
    monkeypatch.setattr(fewshot, "RELABELLED", 0.0)
    task = next(task for task in course.tasks if task.name == "sst2")
    ids, answer = next(encoded_items(course.tokenizer, task, 1, 1, "test", 4096))
    question = r"(?:[^\n]+\n)+Answer: (?:positive|negative)"
    assert re.fullmatch(rf"<s>{question}\n\n{question}\n", course.tokenizer.decode(ids))
    assert course.tokenizer.decode(ids[-answer:]).strip() in ("positive", "negative")
    for seed in range(6):
        document = fewshot.few_shot(Random(seed), course.examples, 1, course.encode)
        assert re.fullmatch(rf"<s>(?:{question}\n\n)*{question}</s>", course.tokenizer.decode(document.ids))


def test_rows_are_full_and_follow_from_seed_and_step(course: real_course.Real) -> None:
    tokens, weights = course.batch(3)
    again, _ = course.batch(3)
    other, _ = course.batch(4)
    assert tokens.shape == weights.shape == (4, 128)
    assert torch.equal(tokens, again)
    assert not torch.equal(tokens, other)
    assert not (tokens == course.tokenizer.pad_token_id).any()


def test_nothing_of_targets_of_test_splits_or_of_held_out_text_is_read(course: real_course.Real, sources) -> None:
    decode = course.tokenizer.decode
    assert SECRET not in decode(course.examples.tokens.tolist())
    assert len(course.examples.spans) == 2
    held_out = decode(course.held_out[1:40].tolist())
    assert held_out in decode(course.held_out.tolist())
    assert held_out not in decode(course.text.tolist())
    assert {task.name for task in course.tasks if fewshot.is_target(task)} == {"rte"}


def test_a_cut_question_keeps_its_first_token_and_its_answer(course: real_course.Real) -> None:
    task = next(task for task in course.tasks if task.name == "sst2")
    whole = list(encoded_items(course.tokenizer, task, 4, 3, "test", 4096))
    cut = list(encoded_items(course.tokenizer, task, 4, 3, "test", 40))
    for (long, answer), (short, same) in zip(whole, cut, strict=True):
        assert same == answer
        assert len(short) == 40
        assert short == [long[0], *long[-39:]]


def test_a_resumed_run_is_the_uninterrupted_run(course: real_course.Real, tmp_path: Path) -> None:
    whole, part = (Pretraining(SMALL, course) for _ in range(2))
    expected = [whole.advance() for _ in range(4)]
    found = [part.advance() for _ in range(2)]
    part.save(tmp_path / "checkpoint.pt")
    resumed = Pretraining(SMALL, course)
    resumed.resume(tmp_path / "checkpoint.pt")
    assert found + [resumed.advance() for _ in range(2)] == expected
    assert resumed.first_losses == expected


@pytest.mark.gpu
def test_a_gpu_learns_as_a_processor_does(course: real_course.Real) -> None:
    """20 losses that fall by 0.6 agree to 3e-4 in bfloat16 (seen on a processor); another mask or rate puts them 0.1 apart."""
    one, other = (Pretraining(SMALL, course, device) for device in ("cpu", "cuda"))
    found = [(one.advance(), other.advance()) for _ in range(20)]
    assert found[-1][0] < found[0][0] - 0.1
    assert [b for _, b in found] == pytest.approx([a for a, _ in found], abs=0.01)
    assert other.look().keys() == one.look().keys()


def test_the_script_goes_on_and_writes_a_model_that_loads(sources, tmp_path: Path, monkeypatch, capsys) -> None:
    """Stopped before its first step, started again, and finished: shards, hash, manifest with both tables."""
    monkeypatch.setattr(export, "SHARD", "40KB")
    small = [f"--set={name}={getattr(SMALL, name)}" for name in SMALL.__slots__ if name not in ("steps", "seed")]
    command = ["--size", "large", "--corpus", str(sources[0]), "--tasks", str(sources[1]), "--out", str(tmp_path)]
    command += [*small, "--steps", "4", "--look-every", "2", "--items", "2"]
    pretrain.main([*command, "--minutes", "0"])
    assert "step 0 of 4" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()
    pretrain.main(command)
    folder = tmp_path / "model"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert len(list(folder.glob("*.safetensors"))) > 1
    assert manifest["sha256"] == export.weights_hash(folder)
    assert manifest["steps"] == 4
    assert manifest["tokens"] == 4 * 512
    assert set(manifest["abilities"]["targets"]["tasks"]) == {"rte"}
    assert set(manifest["abilities"]["general"]["tasks"]["sst2"]["exact"]) == {"0", "1", "4"}
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert sum(p.numel() for p in model.parameters()) == manifest["parameters"]
    assert len(tokenizer) == model.config.vocab_size
    looks = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in looks if "held_out" in line] == [2, 4]


def test_what_cannot_be_is_refused(sources: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit):
        pretrain.main(["--size", "large", "--out", str(tmp_path)])
    assert "--corpus DIR" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"no \.txt file"):
        list(corpus.files(tmp_path))
    with pytest.raises(ValueError, match=r"no folder with a test\.jsonl"):
        fewshot.tasks(sources[0])
    with pytest.raises(ValueError, match="no setting 'layer'"):
        changed(SMALL, ["layer=2"])
    with pytest.raises(ValueError, match=r"layers=NUMBER \(int\)"):
        changed(SMALL, ["layers=two"])
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "prepared.json").write_text('{"sources": "0"}')
    with pytest.raises(ValueError, match="other files"):
        real_course.prepare(sources[0], sources[1], tmp_path / "data", 128)


def test_the_large_model_fits_into_its_forty_megabytes() -> None:
    settings = pretrain.SIZES["large"]
    matrices = settings.layers * (4 * settings.width**2 + 3 * settings.width * settings.inner)
    small = settings.layers * 6 * settings.width + settings.width
    assert 2 * (matrices + small + corpus.VOCABULARY * settings.width) < 39_000_000  # and the tokenizer's megabyte
