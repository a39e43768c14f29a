"""Pushing a run, against a stand-in of the hub's HTTP interface: what arrives is what a stranger can load."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, ModelCard

from holdfast.api.push import push
from holdfast.results.run_folder import read

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the hub client's own upload


class Hub(ThreadingHTTPServer):
    """Repositories made, files committed, and large files by their hash, as a hub would keep them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.created: list[dict[str, Any]] = []
        self.large: dict[str, bytes] = {}
        self.files: dict[str, bytes] = {}
        self.refuses = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answers(BaseHTTPRequestHandler):
    server: Any  # a Hub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_PUT(self) -> None:
        self.server.large[self.path.rpartition("/")[2]] = self._body()
        self._say({})

    def do_POST(self) -> None:
        hub, body = self.server, self._body()
        if hub.refuses:
            self._say({"error": "Invalid username or password."}, 401)
        elif self.path == "/api/repos/create":
            hub.created.append(json.loads(body))
            self._say({"url": f"{hub.url}/me/tuned"})
        elif self.path == "/api/validate-yaml":
            self._say({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = {True: "lfs", False: "regular"}
            self._say(
                {
                    "files": [
                        {"path": n, "uploadMode": modes[n.endswith(".safetensors")], "shouldIgnore": False}
                        for n in names
                    ]
                }
            )
        elif self.path.endswith("/info/lfs/objects/batch"):
            found = [
                {**one, "actions": {"upload": {"href": f"{hub.url}/large/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            self._say({"transfer": "basic", "objects": found})
        elif "/commit/" in self.path:
            for line in body.decode().splitlines():
                self._commit(json.loads(line))
            self._say({"success": True, "commitUrl": f"{hub.url}/me/tuned/commit/abc", "commitOid": "abc"})
        else:
            self._say({"error": f"the stand-in does not know {self.path}"}, 404)

    def _commit(self, line: dict[str, Any]) -> None:
        value = line["value"]
        if line["key"] == "file":
            self.server.files[value["path"]] = base64.b64decode(value["content"])
        elif line["key"] == "lfsFile":
            self.server.files[value["path"]] = self.server.large[value["oid"]]

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _say(self, answer: dict[str, Any], status: int = 200) -> None:
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # the stand-in has no chunk store
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # the stand-in is no network
    server = Hub()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def weighted(run: Path) -> Path:
    """The example run with something in its folders."""
    for piece, name in (("model", "config.json"), ("model", "model.safetensors"), ("prompt", "adapter_config.json")):
        (run / piece / name).write_text(f"{piece} {name}")
    (run / "prompt" / "adapter_model.safetensors").write_text("prompt weights")
    (run / "report.html").write_text("a page")
    return run


def test_a_run_arrives_whole_private_and_without_anybodys_data(hub: Hub, weighted: Path) -> None:
    address = push(weighted, "me/tuned", api=HfApi(endpoint=hub.url, token="hf_stand_in"))
    assert address == f"{hub.url}/me/tuned"
    assert [(made["name"], made.get("organization"), made["visibility"]) for made in hub.created] == [
        ("tuned", "me", "private")
    ]
    assert set(hub.files) == {
        "README.md", "scores.jsonl", "config.yaml", "log.jsonl",
        "config.json", "model.safetensors", "prompt/adapter_config.json", "prompt/adapter_model.safetensors",
    }  # fmt: skip
    assert hub.files["model.safetensors"] == b"model model.safetensors"
    assert hub.files["scores.jsonl"] == (weighted / "scores.jsonl").read_bytes()


def test_the_card_loads_from_the_repository_and_its_numbers_are_the_scores(hub: Hub, weighted: Path) -> None:
    push(weighted, "me/tuned", public=True, report=True, api=HfApi(endpoint=hub.url, token="hf_stand_in"))
    assert hub.created[0]["visibility"] == "public"
    assert "report.html" in hub.files
    text = hub.files["README.md"].decode()
    assert 'AutoModelForCausalLM.from_pretrained("me/tuned")' in text
    assert 'PeftModel.from_pretrained(model, "me/tuned", subfolder="prompt")' in text
    assert "holdfast.load(" not in text
    data: Any = ModelCard(text).data
    results = data.eval_results
    listed = {(r.dataset_name, r.metric_name): r.metric_value for r in results}
    judged = [score for score in read(weighted).scores if score.metric != "format_share"]
    assert len(results) == len(listed) == len(judged), "every judged score is there once, before and after"
    base = next(s for s in judged if s.key == ("base", None, "xsum", 0, "rougeL"))
    assert listed["xsum", "rougeL, 0-shot, base"] == pytest.approx(base.value, abs=1e-6)  # six decimals are written


def test_a_refusal_is_one_line(hub: Hub, weighted: Path) -> None:
    hub.refuses = True
    with pytest.raises(ValueError, match=r"me/tuned: not pushed: .*hf auth login") as caught:
        push(weighted, "me/tuned", api=HfApi(endpoint=hub.url, token="hf_stand_in"))
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="tuned: not the name of a repository; write OWNER/NAME"):
        push(weighted, "tuned")
