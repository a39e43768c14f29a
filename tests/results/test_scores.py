"""Scores and outputs survive the way to the disk and back, and a broken file is named by its line."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from holdfast.results.scores import Output, Score, read_outputs, read_scores, write_jsonl
from holdfast.results.statistics_judge import WinRate

SCORE = Score(
    "tuned", "off", "rte", "general", 4, "accuracy", 0.5, 0.4, 0.6, 100, 0.05, -0.1, -0.2, 0.0, 0.04, "unclear", 640,
    versions={"torch": "2"},
)  # fmt: skip
OUTPUT = Output(
    "base", None, "rte", "target", 0, 3, "is it?", "no", "yes", ("no", "never"), ("yes", "no"), (-1.0, -2.5)
)


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    odd = Output(
        "base", None, "t", "general", 0, 0, "a\u2028b\x85c\r\nd", "é", '"\\', scores={"f1": 0.5}, generated="\x1c"
    )
    write_jsonl(tmp_path / "scores.jsonl", [SCORE, SCORE])
    write_jsonl(tmp_path / "outputs.jsonl", [OUTPUT, odd])
    assert read_scores(tmp_path) == read_scores(tmp_path / "scores.jsonl") == [SCORE, SCORE]
    assert read_outputs(tmp_path) == [OUTPUT, odd]
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_nothing_written_is_nothing_read(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "scores.jsonl", [])
    assert read_scores(tmp_path) == []


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "scores.jsonl", [SCORE])

    def killed():
        yield SCORE
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_jsonl(tmp_path / "scores.jsonl", killed())
    assert read_scores(tmp_path) == [SCORE]


def test_records_of_another_version_are_read_as_far_as_they_are_known(tmp_path: Path) -> None:
    record = asdict(SCORE) | {"from_the_future": 1}
    del record["needed"]
    (tmp_path / "scores.jsonl").write_text(json.dumps(record) + "\n")
    (score,) = read_scores(tmp_path)
    assert (score.value, score.needed) == (0.5, None)


def test_the_older_word_for_unclear_is_read_in_scores_and_in_a_judgement(tmp_path: Path) -> None:
    (tmp_path / "scores.jsonl").write_text(json.dumps(asdict(SCORE) | {"verdict": "not resolvable"}) + "\n")
    assert read_scores(tmp_path) == [SCORE]
    estimate = {"value": 0.5, "low": 0.4, "high": 0.6}
    rate = {"raw": estimate, "corrected": estimate, "n": 9, "verdict": "not resolvable"}
    assert TypeAdapter(WinRate).validate_python(rate).verdict == "unclear"


def test_a_broken_line_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"scores\.jsonl: there is no such file"):
        read_scores(tmp_path)
    (tmp_path / "scores.jsonl").write_text(json.dumps(asdict(SCORE)) + "\n{broken\n")
    with pytest.raises(ValueError, match=r"scores\.jsonl:2: this line is not JSON"):
        read_scores(tmp_path)


def test_the_key_tells_scores_of_one_run_apart() -> None:
    assert SCORE.key == ("tuned", "off", "rte", 4, "accuracy")
