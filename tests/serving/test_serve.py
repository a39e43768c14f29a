"""`holdfast serve` asked by OpenAI's own client and by raw requests: answers are the model's own, whoever else asks at the same time."""

import json
import random
import shlex
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from holdfast.api.evaluate import evaluate
from holdfast.api.load import load
from holdfast.inference.model import Model
from holdfast.inference.sampling import Sampling
from holdfast.inference.served_model import served
from holdfast.lab import world
from holdfast.models.endpoint import endpoint_of
from holdfast.serving.roster import Roster, roster_of
from holdfast.serving.run import curl
from holdfast.serving.trial import Trial
from holdfast.tasks.text.templates import render
from tests.serving.running import running, write_choices

pytest.importorskip("uvicorn", reason="serving needs holdfast[serve]")
httpx: Any = pytest.importorskip("httpx")
openai: Any = pytest.importorskip("openai")

TALK = "{% for m in messages %}{{ m.content }} {% endfor %}{% if add_generation_prompt %}.{% endif %}"


@pytest.fixture(scope="module")
def lab() -> Model:
    return load("lab")


@pytest.fixture(scope="module")
def address(lab: Model) -> Iterator[str]:
    """A server of the lab's model, of the same behind three vectors, and of one that fails."""
    roster = Roster()
    width = lab.pretrained.model.get_input_embeddings().weight.shape[1]
    vectors = torch.randn(3, width, generator=torch.Generator().manual_seed(0))
    chats = load("lab")
    chats.pretrained.tokenizer.chat_template = TALK
    roster.add("lab", "plain", lambda: lab)
    roster.add("prompted", "behind a prompt", lambda: Model(lab.pretrained, vectors))
    roster.add("chats", "with a chat template", lambda: chats)
    roster.add("broken", "fails", lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    with running(roster) as url:
        yield url


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[Any]:
    with openai.OpenAI(base_url=address, api_key="none", max_retries=0) as made:
        yield made


def questions(count: int, names: tuple[str, ...] = ("count", "from-zan", "who")) -> list[str]:
    """Prompts of the lab's tasks, of different lengths."""
    texts: list[str] = []
    for name in names:
        task = world.task(name)
        texts += [render(task.template, example).prompt for example in task.splits["test"][: count // len(names) + 1]]
    return texts[:count]


def test_completions_are_the_models_own_streamed_or_not(client: Any, lab: Model) -> None:
    (text,) = questions(1)
    (expected,) = lab.generate([text], Sampling(12, stop=(" the",)))
    asked = {"model": "lab", "prompt": text, "max_tokens": 12, "stop": " the", "temperature": 0}
    answer = client.completions.create(**asked)
    assert answer.choices[0].text == expected
    pieces = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(piece.choices[0].text for piece in pieces[:-1]) == expected
    assert len(pieces) > 3, "token by token, and not at the end"
    assert pieces[-2].choices[0].finish_reason == answer.choices[0].finish_reason
    assert pieces[-1].usage == answer.usage
    assert answer.usage.prompt_tokens == lab.count_tokens([text])[0]
    assert client.completions.create(**{**asked, "stop": "\n"}).choices[0].finish_reason == "stop"
    cut = client.completions.create(**{**asked, "max_tokens": 1})
    assert (cut.choices[0].finish_reason, cut.usage.completion_tokens) == ("length", 1)


def test_chats_are_written_by_the_template_streamed_or_not(client: Any, lab: Model) -> None:
    (text,) = questions(1)
    talk = [{"role": "system", "content": "the bird"}, {"role": "user", "content": [{"type": "text", "text": text}]}]
    (expected,) = lab.generate([f"the bird {text} ."], Sampling(9))
    asked = {"model": "chats", "messages": talk, "max_completion_tokens": 9, "temperature": 0}
    answer = client.chat.completions.create(**asked)
    assert answer.choices[0].message.content == expected
    pieces = list(client.chat.completions.create(**asked, stream=True))
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == expected
    with pytest.raises(openai.BadRequestError, match="has no chat template; ask /v1/completions"):
        client.chat.completions.create(**{**asked, "model": "lab"})


def test_the_prompt_is_attached_for_its_own_name_and_for_no_other(client: Any, lab: Model) -> None:
    """The bug: a prompt that stays on the shared weights after it was used."""
    text = questions(1)[0]
    asked: dict[str, Any] = {"prompt": [text], "max_tokens": 8, "temperature": 0}
    answers = [client.completions.create(model=name, **asked).choices[0].text for name in ("lab", "prompted", "lab")]
    assert answers[0] == answers[2] == lab.generate([text], Sampling(8))[0]
    assert answers[1] != answers[0]


def test_drawn_texts_are_those_of_their_seed(client: Any, lab: Model) -> None:
    (text,) = questions(1)
    asked: dict[str, Any] = {
        "model": "lab",
        "prompt": text,
        "max_tokens": 8,
        "temperature": 2.0,
        "extra_body": {"top_k": 20},
    }
    expected = lab.generate([text], Sampling(8, temperature=2.0, top_k=20, seed=5, samples=3))
    answer = client.completions.create(**asked, seed=5, n=3)
    assert [choice.text for choice in answer.choices] == expected
    assert len({client.completions.create(**asked).choices[0].text for _ in range(6)}) > 1, "without a seed they differ"


def test_two_who_ask_the_same_at_once_without_a_seed_are_not_told_the_same(client: Any) -> None:
    (text,) = questions(1)
    asked: dict[str, Any] = {"model": "lab", "prompt": text, "max_tokens": 12, "temperature": 3.0}
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda _: client.completions.create(**asked).choices[0].text, range(8)))
    assert len(set(texts)) >= 4, "two may end at once; a draw that is shared makes all eight equal"


def test_32_clients_with_other_limits_and_stops_each_get_what_they_would_get_alone(client: Any, lab: Model) -> None:
    """Greedy, drawn and streamed in one crowd. The bug: a limit, a stop string or an answer of another client."""
    draws, texts = random.Random(1), questions(60) * 2
    settings = [
        Sampling(
            draws.choice([1, 3, 8, 20]),
            tuple(draws.choice([(), ("\n",), (" the",)])),
            temperature=heat,
            seed=number % 3,
        )
        for number, heat in enumerate(draws.choices([0.0, 0.0, 1.5], k=len(texts)))
    ]
    expected = [lab.generate([text], sampling)[0] for text, sampling in zip(texts, settings, strict=True)]

    def ask(number: int) -> str:
        chosen = settings[number]
        asked: dict[str, Any] = {"model": "lab", "prompt": texts[number], "max_tokens": chosen.max_new_tokens}
        asked |= {"stop": list(chosen.stop) or None, "temperature": chosen.temperature, "seed": chosen.seed}
        if number % 2:
            return "".join(piece.choices[0].text for piece in client.completions.create(**asked, stream=True))
        return client.completions.create(**asked).choices[0].text

    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(ask, range(len(texts)))) == expected


def test_echoed_log_probabilities_are_the_models_own(address: str, lab: Model, client: Any, tmp_path: Any) -> None:
    """Within rounding in float32 (1e-4); a boundary that is off by a token moves a sum by whole nats."""
    pairs = [(text, f" {word}") for text in questions(6) for word in ("yes", "no", "the bird", "seven")]
    (there,) = [endpoint_of(f"openai:{address}#lab")]
    assert there
    with served(there, tmp_path) as model:
        scores = model.loglikelihood(pairs)
        masses = model.first_token_mass([questions(1)[0]], [[" yes", " no", " the bird", " the"]])
        next_tokens = model.next_tokens(questions(1)[0], 3)
        counts = model.count_tokens([text for text, _ in pairs])
        assert model.room == lab.room
        assert model.cuts([("the bird " * 700, ""), ("the bird", "")], 16) == [True, False]
    expected = lab.loglikelihood(pairs)
    assert [score.value for score in scores] == pytest.approx([score.value for score in expected], abs=1e-4)
    assert [(score.greedy, score.tokens) for score in scores] == [(score.greedy, score.tokens) for score in expected]
    assert masses == pytest.approx(
        lab.first_token_mass([questions(1)[0]], [[" yes", " no", " the bird", " the"]]), abs=1e-5
    )
    assert [token for token, _ in next_tokens] == [token for token, _ in lab.next_tokens(questions(1)[0], 3)]
    assert counts == lab.count_tokens([text for text, _ in pairs])


@pytest.mark.parametrize("task", ["lab:count", "ranked"])
def test_a_served_model_gets_exactly_the_scores_of_the_model(
    address: str, task: str, monkeypatch: Any, tmp_path: Any
) -> None:
    monkeypatch.setenv("HOLDFAST_CONCURRENCY", "32")
    monkeypatch.setenv("HOLDFAST_CACHE", str(tmp_path))
    task = task if task.startswith("lab:") else str(write_choices(tmp_path / task))
    numbers = [
        [(s.key, s.value, s.low, s.high, s.n) for s in evaluate(name, task, shots=(0, 2), limit=40)]
        for name in ("lab", f"openai:{address}#lab")
    ]
    assert numbers[0] == numbers[1]
    assert 0.3 < numbers[0][0][1] <= 1, "a task that the model can do, so that a wrong pairing would show"


def test_models_are_listed_with_their_room(client: Any, lab: Model) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert list(listed) == ["lab", "prompted", "chats", "broken"]
    assert client.models.retrieve("lab").max_model_len == lab.room  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("change", "state", "words"),
    [
        ({"model": "gpt"}, 404, "model 'gpt': there is none of this name; there are lab, prompted, chats, broken"),
        ({"prompt": "the bird " * 2000}, 400, "there is room for 1024"),
        ({"max_tokens": 5000}, 400, "5000 new ones are asked for"),
        ({"max_tokens": "many"}, 400, "max_tokens: input should be a valid integer"),
        ({"temperature": -1}, 400, "temperature: input should be greater than or equal to 0"),
        ({"frequency_penalty": 1.0}, 400, "frequency_penalty: this server does not have it"),
        ({"stop": ["", "x"]}, 400, "none of them empty"),
        ({"prompt": None}, 400, "prompt"),
        ({"n": 2, "stream": True}, 400, "n: a stream has one answer"),
        ({"echo": True}, 400, "echo: only with logprobs"),
        ({"model": "broken", "stream": True}, 500, "the model failed"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_in_json(
    address: str, change: dict[str, Any], state: int, words: str
) -> None:
    body = {"model": "lab", "prompt": "the bird", "max_tokens": 2, **change}
    answer = httpx.post(f"{address}/completions", json=body)
    assert answer.status_code == state
    assert words in answer.json()["error"]["message"]
    assert httpx.post(f"{address}/completions", json={"model": "lab", "prompt": "a"}).status_code == 200, (
        "the server goes on"
    )


def test_the_server_guards_itself(address: str) -> None:
    post = {"url": f"{address}/completions", "content": b'{"model": "lab", "prompt": "a"}'}
    typed = {"content-type": "application/json"}
    cases = [
        (httpx.post(**post, headers={**typed, "host": "evil.example"}), 403, "host header 'evil.example'"),
        (httpx.get(f"{address}/models", headers={"host": "evil.example:8000"}), 403, "this server answers to"),
        (httpx.post(**post, headers={**typed, "origin": "https://evil.example"}), 403, "pages of this machine only"),
        (httpx.get(f"{address}/models", headers={"origin": "null"}), 403, "pages of this machine only"),
        (httpx.get(f"{address}/models", headers={"origin": "http://localhost.evil.example"}), 403, "origin"),
        (httpx.post(**post, headers={"content-type": "text/plain"}), 415, "Content-Type: application/json"),
        (httpx.post(f"{address}/completions", content=b"{", headers=typed), 400, "no JSON"),
        (httpx.post(f"{address}/completions", content=b"[" * 100_000, headers=typed), 400, "no JSON"),
        (httpx.post(f"{address}/completions", content=b" " * (5 << 20), headers=typed), 413, "larger than 4 MiB"),
        (httpx.get(f"{address}/completions"), 405, "Method Not Allowed"),
        (httpx.get(f"{address}/nothing"), 404, "/v1/nothing"),
    ]
    for answer, state, words in cases:
        assert answer.status_code == state
        assert words in answer.json()["error"]["message"]
    for headers in ({"host": "localhost:1"}, {"origin": "http://127.0.0.1:3000"}, {"origin": "http://[::1]"}):
        assert httpx.get(f"{address}/models", headers=headers).status_code == 200


def test_a_server_for_other_machines_refuses_pages_of_other_origins(lab: Model) -> None:
    roster = Roster()
    roster.add("lab", "plain", lambda: lab)
    with running(roster, hosts=()) as url:
        mine = {"host": "box.lan:8000", "origin": "http://box.lan:8000"}
        assert httpx.get(f"{url}/models", headers=mine).status_code == 200
        assert httpx.get(f"{url}/models", headers=mine | {"origin": "https://evil.example"}).status_code == 403


def test_the_command_that_is_shown_at_the_start_asks_the_model(address: str, lab: Model) -> None:
    """Taken apart as a shell would, because a machine need not have curl."""
    prompt = 'it\'s "red" $HOME `date` !\nü \x1b[2J'
    shown = curl(address, "lab", Trial(prompt, 5, (".",)))
    assert "\x1b" not in shown, "a terminal must not obey a task's text"
    words = shlex.split(shown)
    assert words[:3] == ["curl", "-sS", f"{address}/completions"]
    assert json.loads(words[words.index("-d") + 1])["prompt"] == prompt
    name, value = words[words.index("-H") + 1].split(": ")
    answer = httpx.post(words[2], content=words[words.index("-d") + 1], headers={name: value}).json()
    assert answer["choices"][0]["text"] == lab.generate([prompt], Sampling(5, (".",)))[0]
    assert shlex.split(curl(address, "it's", Trial(), key=True)).count("-H") == 2


def test_a_plain_model_is_tried_by_a_question_that_it_can_read(lab: Model) -> None:
    trial = roster_of("lab").trial
    assert trial.task == "who"
    assert lab.generate([trial.prompt], Sampling(trial.max_tokens, trial.stop)) == [trial.target]


def test_a_key_is_wanted_where_the_server_has_one(lab: Model) -> None:
    roster = Roster()
    roster.add("lab", "plain", lambda: lab)
    with running(roster, key="sk-mine") as url:
        answer = httpx.get(f"{url}/models")
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert httpx.get(f"{url}/models", headers={"authorization": "Bearer sk-mine"}).status_code == 200


def test_a_client_that_goes_away_ends_its_text_and_no_other(address: str, client: Any, lab: Model) -> None:
    """The bug: a long text that nobody reads keeps the others waiting until its last token."""
    (text,) = questions(1)
    (expected,) = lab.generate([text], Sampling(5))
    before = threading.active_count()
    body = {"model": "lab", "prompt": text, "max_tokens": 1000, "temperature": 0, "stream": True}
    for _ in range(3):
        with httpx.stream("POST", f"{address}/completions", json=body) as stream:
            next(stream.iter_lines())
        assert (
            client.completions.create(model="lab", prompt=text, max_tokens=5, temperature=0, timeout=20).choices[0].text
            == expected
        )
    assert threading.active_count() <= before + 1


def test_events_are_written_as_the_protocol_says(address: str) -> None:
    body = {"model": "lab", "prompt": questions(1)[0], "max_tokens": 3, "temperature": 0, "stream": True}
    answer = httpx.post(f"{address}/completions", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert all(json.loads(event.removeprefix("data: "))["object"] == "text_completion" for event in events[:-2])
