"""Tokens of the environment reach no file and no terminal, and the record of a run says which commit of a hub's model it was."""

from pathlib import Path

import pytest

import holdfast
from holdfast.models.fingerprint import revision

TOKENS = {
    "HF_TOKEN": "hf_SENTINELabcdef0123456789",
    "HOLDFAST_API_KEY": "sk-SENTINEL0123456789",
    "WANDB_API_KEY": "SENTINELwandb" * 3,
}


def test_no_token_is_written_or_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, token in TOKENS.items():
        monkeypatch.setenv(name, token)
    options = {"steps": 1, "validation_limit": 0}
    holdfast.tune(
        "lab", "lab:elicit-sentiment", "full", "none", limit=2, shots=[0], out=tmp_path / "run", model_=options
    )
    printed = capfd.readouterr()
    assert "SENTINEL" not in printed.out + printed.err
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert {"README.md", "report.html", "config.yaml", "log.jsonl", "evidence.json"} <= {path.name for path in files}
    assert [path.name for path in files if b"SENTINEL" in path.read_bytes()] == []


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def cached(folder: Path, repo: str) -> Path:
    """Lay a hub's cache out as huggingface_hub does."""
    home = folder / f"models--{repo.replace('/', '--')}"
    (home / "snapshots" / COMMIT).mkdir(parents=True)
    (home / "snapshots" / COMMIT / "config.json").write_text("{}")
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(COMMIT)
    return folder


def test_the_commit_of_a_hubs_model_is_known(tmp_path: Path) -> None:
    cache = str(cached(tmp_path, "acme/small"))
    assert revision("acme/small", cache) == COMMIT
    assert revision("acme/other", cache) == ""


@pytest.mark.parametrize("source", ["lab", "a/b/c", "..", "/etc/passwd", "acme/../x", "a b/c", "", "x/"])
def test_what_is_no_repository_has_no_commit(source: str, tmp_path: Path) -> None:
    assert revision(source, str(tmp_path)) == ""
