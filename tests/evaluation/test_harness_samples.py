"""Our items in the harness's sample format: its keys, its hashes, and nothing that was not recorded."""

import json
from pathlib import Path

import pytest

from holdfast.evaluation.harness_samples import samples, write_samples
from holdfast.results.scores import Output
from holdfast.tasks.task import Task, Template

TASK = Task("lab:kinds", {}, Template(delimiter=" ", stop=("\n",)))
RANKED = Output(
    "tuned", "off", "lab:kinds", "general", 1, 3, "Q: é\nA:", "red", "blue", choices=("red", "blue"), logprobs=(-2.5, -1.0),
    scores={"accuracy": 0.0},
)  # fmt: skip
WRITTEN = Output("base", None, "lab:kinds", "general", 0, 2, "Q:", "red", "green", scores={"exact_match": 0.0})


def test_a_ranked_item_has_one_request_for_each_choice() -> None:
    (found,) = samples([RANKED], TASK)
    assert found["arguments"]["gen_args_1"] == {"arg_0": "Q: é\nA:", "arg_1": " blue"}
    assert found["resps"] == [[["-2.5", None]], [["-1.0", None]]]
    assert found["filtered_resps"] == [["-2.5", None], ["-1.0", None]]
    assert (found["doc_id"], found["metrics"], found["accuracy"]) == (3, ["accuracy"], 0.0)


def test_a_written_item_has_one_request_with_its_settings() -> None:
    (found,) = samples([WRITTEN], TASK)
    assert found["arguments"] == {"gen_args_0": {"arg_0": "Q:", "arg_1": {"until": ["\n"], "do_sample": False}}}
    assert (found["resps"], found["filtered_resps"]) == ([["green"]], ["green"])


def test_the_hashes_are_the_harnesss() -> None:
    utils = pytest.importorskip("lm_eval.utils")
    (found,) = samples([RANKED], TASK)
    assert found["prompt_hash"] == utils.hash_string(RANKED.input)
    assert found["target_hash"] == utils.hash_string("red")
    assert found["doc_hash"] == utils.hash_string(json.dumps(found["doc"], indent=2, ensure_ascii=False))


def test_each_model_has_a_folder_and_each_task_a_file_that_the_harness_can_name(tmp_path: Path) -> None:
    paths = write_samples(tmp_path, [RANKED, WRITTEN], [TASK])
    assert [p.relative_to(tmp_path).as_posix() for p in paths] == [
        "samples/tuned-prompt-off/samples_lab-kinds_1-shot.jsonl", "samples/base/samples_lab-kinds_0-shot.jsonl",
    ]  # fmt: skip
    assert not list(tmp_path.rglob("*.part"))
    utils = pytest.importorskip("lm_eval.utils")
    assert utils.get_file_task_name(paths[0].name) == "lab-kinds"
    assert json.loads(paths[0].read_text())["doc"]["choices"] == ["red", "blue"]
