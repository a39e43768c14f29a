"""A name that is no model is refused at once; one of the hub is asked for there, and only once where the hub is out of reach."""

import os
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import hf_api

from holdfast.models import hub, loading, resolve
from holdfast.tasks import hub_reach, sources
from tests.cli.commands import Commands


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names for which the hub was asked, by a hub that nobody reaches; nothing is in its cache."""
    names: list[str] = []

    def unreachable(_: object, name: str, **__: object) -> None:
        names.append(name)
        raise ConnectionError("Name or service not known\nmore")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    hub_reach.unreachable.cache_clear()  # A hub that was reached before in this process would be taken for reached.
    return names


@pytest.fixture
def transformers_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    # It tries six times and waits longer each time: about a minute for one command.
    original = loading.AutoTokenizer.from_pretrained
    fail = "transformers was asked for the name"
    monkeypatch.setattr(
        loading.AutoTokenizer,
        "from_pretrained",
        lambda source, **options: original(source, **options) if Path(source).exists() else pytest.fail(fail),
    )


@pytest.mark.usefixtures("transformers_is_not_asked")
@pytest.mark.parametrize(("name", "meant"), [("lba", "lab"), ("Lab", "lab"), ("smolm2", "smollm2")])
def test_a_slip_of_a_built_in_name_is_named_at_once(
    name: str, meant: str, holdfast: Commands, asked: list[str], tmp_path: Path
) -> None:
    seen = holdfast("tune", name, "lab:kind", "--out", tmp_path / "run")
    assert seen.error == (
        f"holdfast: {name}: no such folder or model; did you mean `{meant}`? A model of the hub can be named OWNER/NAME"
    )
    assert asked == []
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("transformers_is_not_asked")
def test_a_slip_in_a_path_names_the_folder_beside_it(holdfast: Commands, asked: list[str], tmp_path: Path) -> None:
    (tmp_path / "stories").mkdir()
    seen = holdfast("tune", tmp_path / "storis", "lab:kind", "--out", tmp_path / "run")
    assert seen.error == f"holdfast: {tmp_path / 'storis'}: no such folder; did you mean `stories`?"
    assert holdfast("evaluate", "lab", "--against", "./not/there").error == "holdfast: ./not/there: no such folder"
    assert asked == []


@pytest.mark.usefixtures("transformers_is_not_asked")
@pytest.mark.parametrize("name", ["gpt2", "owner/name"])
def test_a_hub_out_of_reach_is_one_line_after_one_try(name: str, holdfast: Commands, asked: list[str]) -> None:
    for command in (
        ["evaluate", name, "--task", "lab:kind"],
        ["evaluate", "lab", "--against", name],
    ):
        assert (
            "as a hub id it cannot be loaded: the hub cannot be reached (Name or service not known)"
            in holdfast(*command).error
        )
    assert set(asked) == {name}
    assert len(asked) == 1, "the hub was tried again"


def test_a_hub_id_without_a_slash_goes_to_the_hub_where_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def from_pretrained(source: str, **_: object) -> SimpleNamespace:
        opened.append(source)
        return SimpleNamespace(model_max_length=1)

    monkeypatch.setattr(loading.AutoTokenizer, "from_pretrained", from_pretrained)
    missing = Exception("404")
    missing.response = "404 Not Found"  # pyright: ignore[reportAttributeAccessIssue]
    for name, answer in (("gpt2", None), ("distilgpt2", missing)):
        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", _answering(answer))
        loading.load_tokenizer(name)
    assert opened == ["gpt2", "distilgpt2"]


def _answering(error: Exception | None) -> object:
    def model_info(*_: object, **__: object) -> None:
        if error is not None:
            raise error

    return model_info


def test_a_folder_of_such_a_name_is_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    (tmp_path / "lba").mkdir()
    monkeypatch.chdir(tmp_path)
    hub.check_reachable("lba")
    assert asked == []


def test_a_model_in_the_cache_is_loaded_at_once_where_the_hub_is_out_of_reach(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asked: list[str]
) -> None:
    """The bug: for each file that a model may have and this one has not, the hub was tried six times, 23 seconds long."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "")  # put back as it was after the test
    monkeypatch.setattr(hub, "cached_folder", lambda name: Path(name))
    hub.check_reachable("owner/name")
    hub.check_reachable("owner/name")
    assert "the hub cannot be reached (Name or service not known), so its cache is taken" in capsys.readouterr().err
    assert huggingface_hub.constants.is_offline_mode()
    assert os.environ["HF_HUB_OFFLINE"] == "1", "a study's other processes too"
    assert asked == ["owner/name"]


def test_a_slow_hub_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is connected to and says nothing, asked by the client itself."""
    monkeypatch.undo()  # of the fixture
    hub_reach.unreachable.cache_clear()
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(hub_reach, "TIMEOUT", 1)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hf_api.HfApi(endpoint=address))
        assert hub_reach.unreachable("owner/name") == ""
        server.close()
        hub_reach.unreachable.cache_clear()
        assert "refused" in hub_reach.unreachable("owner/name")


def test_a_data_set_of_a_hub_out_of_reach_is_one_line_without_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ConnectionError("Name or service not known")
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", _answering(error))
    monkeypatch.setenv("HF_HUB_OFFLINE", "")
    began = time.monotonic()
    with pytest.raises(
        ValueError, match=r"hf:owner/name: cannot be loaded: the hub cannot be reached \(Name or service"
    ):
        sources.load_task("hf:owner/name")
    assert time.monotonic() - began < 8, "the client's own retries take 23 seconds"


def test_the_small_real_model_is_a_model_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "smollm2", lambda: "owner/name")
    assert resolve.resolve("smollm2") == "owner/name"
