"""Models behind a server that fails in every way a server can: pairing, order, retries, cost, resumption, and what is never written."""

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.inference import served_model as reader
from holdfast.inference.requests import Requests, RequestSettings
from holdfast.inference.sampling import Sampling
from holdfast.inference.served_chat import ServedChat, messages_of
from holdfast.inference.served_model import RECEIVED, USAGE, ServedModel, served
from holdfast.models.endpoint import Endpoint, endpoint_of
from tests.inference.fault_server import FaultServer, running

pytest.importorskip("tenacity", reason="asking a server needs holdfast[serve]")

QUICK = RequestSettings(concurrency=4, timeout=0.5, tries=4, backoff=0.01)


def endpoint(server: FaultServer, path: str = "") -> Endpoint:
    result = endpoint_of(f"openai:{server.url}{path}#small")
    assert result
    return result


OPENED: list[Requests] = []


@pytest.fixture(autouse=True)
def close_connections() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


def asking(where: Endpoint, settings: RequestSettings = QUICK, path: Path | None = None) -> ServedModel:
    OPENED.append(Requests(where, path, settings))
    return ServedModel(OPENED[-1])


def model(server: FaultServer, settings: RequestSettings = QUICK, path: Path | None = None) -> ServedModel:
    return asking(endpoint(server), settings, path)


def shouted(body: dict[str, Any]) -> str:
    return f" {body['prompt'].upper()}"


def test_32_requests_at_a_time_keep_every_answer_with_its_question() -> None:
    """Answers come in any order, two fifths of the questions fail first. The bug: an answer of the question beside it."""
    draws = random.Random(0)

    def slow(body: dict[str, Any]) -> str:
        time.sleep(draws.random() * 0.05)
        return shouted(body)

    faults, tried = ["500", "truncated", "no JSON", "hang up"], set[str]()

    def first_time(number: int, body: dict[str, Any]) -> str | None:
        again = body["prompt"] in tried
        tried.add(body["prompt"])
        return None if again or draws.random() < 0.6 else draws.choice(faults)

    texts = [f"text {number}" for number in range(200)] + ["text 7"]
    many = RequestSettings(concurrency=32, timeout=10, tries=8, backoff=0.01)
    with running(FaultServer(slow, first_time)) as server:
        served_model = model(server, many)
        finished: list[int] = []
        answers = served_model.generate(texts, Sampling(8), progress=finished.append)
    assert answers == [f" {text.upper()}" for text in texts]
    assert sum(finished) == len(texts)
    assert 8 < server.most <= 32
    cost = served_model.requests.cost
    assert cost.requests - cost.repeated == 200, "equal questions are paid once"
    assert cost.requests == len(server.bodies)
    assert cost.repeated > 20
    assert (cost.prompt_tokens, cost.completion_tokens) == (600, 400), "only answers that came are counted"


@pytest.mark.parametrize(
    "fault", ["429", "500", "503", "late", "hang up", "truncated", "no JSON", "deep", "no choices"]
)
def test_a_fault_that_passes_costs_a_second_try_and_no_answer(fault: str) -> None:
    with running(FaultServer(shouted, lambda number, body: fault if number == 1 else None)) as server:
        served_model = model(server)
        assert served_model.generate(["a", "b", "c"], Sampling(4)) == [" A", " B", " C"]
    assert (served_model.requests.cost.requests, served_model.requests.cost.repeated) == (4, 1)


def test_a_server_that_asks_to_wait_is_not_asked_before() -> None:
    with running(FaultServer(shouted, lambda number, body: "429" if number <= 2 else None)) as server:
        assert model(server).generate(["a"], Sampling(4)) == [" A"]
    first, second, third = server.times
    assert second - first >= 0.3  # the seconds of its Retry-After; the back-off alone is a tenth of that at most
    assert third - second >= 0.3


@pytest.mark.parametrize(("fault", "words"), [("500", "answers 500"), ("no JSON", "damaged"), ("late", "within 0.5 s")])
def test_a_fault_that_stays_ends_in_one_line_after_all_tries(fault: str, words: str) -> None:
    with (
        running(FaultServer(shouted, lambda number, body: fault)) as server,
        pytest.raises(ValueError, match=words) as raised,
    ):
        model(server).generate(["a"], Sampling(4))
    assert "\n" not in str(raised.value)
    assert "the last of 4 tries" in str(raised.value)
    assert len(server.bodies) == 4


def test_what_no_try_can_mend_is_not_tried_again() -> None:
    with (
        running(FaultServer(shouted, lambda number, body: "400")) as server,
        pytest.raises(ValueError, match="answers 400: fault 400 \\[2J of None"),
    ):
        model(server).generate(["a"], Sampling(4))
    assert len(server.bodies) == 1


def test_after_a_server_died_the_same_command_asks_only_for_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bugs: answers that are paid twice, or an answer of the first half given to a question of the second."""
    texts = [f"text {number}" for number in range(40)]
    quick = RequestSettings(concurrency=1, timeout=0.5, tries=2, backoff=0.01)
    first = FaultServer(shouted, lambda number, body: "hang up" if number > 15 else None)
    with running(first), pytest.raises(ValueError, match=r"the connection broke.*15 answers are kept") as raised:
        model(first, quick, tmp_path / RECEIVED).generate(texts, Sampling(8))
    assert "\n" not in str(raised.value)
    with (tmp_path / RECEIVED).open("a") as file:
        file.write('{"key": "cut by a ki')
    again = FaultServer(shouted, port=first.port)
    with running(again):
        served_model = model(again, quick, tmp_path / RECEIVED)
        assert served_model.generate(texts, Sampling(8)) == [f" {text.upper()}" for text in texts]
    assert len(again.bodies) == 25
    assert {body["prompt"] for body in again.bodies}.isdisjoint(texts[:15])
    assert served_model.requests.cost.kept == 15
    assert "15 answers that came before a command was stopped are used again" in capsys.readouterr().err
    # A third command of the same kind finds all, and not even the line behind the one that was cut is lost.
    assert model(again, quick, tmp_path / RECEIVED).generate(texts, Sampling(8))[39] == " TEXT 39"
    served_model.requests.finish()
    assert not (tmp_path / RECEIVED).exists()


def test_answers_of_another_server_or_other_settings_are_not_used(tmp_path: Path) -> None:
    with running(FaultServer(shouted)) as server, running(FaultServer(lambda body: "other")) as other:
        model(server, path=tmp_path / RECEIVED).generate(["a"], Sampling(8))
        assert model(other, path=tmp_path / RECEIVED).generate(["a"], Sampling(8)) == ["other"]
        model(server, path=tmp_path / RECEIVED).generate(["a"], Sampling(9))
    assert [body["max_tokens"] for body in server.bodies] == [8, 9]


def test_samples_are_asked_for_with_seeds_of_their_own_and_stand_side_by_side() -> None:
    with running(FaultServer(lambda body: f"{body['prompt']}{body['seed']}")) as server:
        sampling = Sampling(8, temperature=1.0, top_k=5, top_p=0.9, seed=3, samples=2)
        assert model(server).generate(["a", "b"], sampling) == ["a3", "a4", "b3", "b4"]
    assert {(body["top_k"], body["top_p"], body["temperature"]) for body in server.bodies} == {(5, 0.9, 1.0)}


def test_texts_end_before_the_first_stop_string_whatever_the_server_does() -> None:
    with running(FaultServer(lambda body: "yes\n\nQuestion: ...")) as server:
        assert model(server).generate(["a"], Sampling(8, stop=("\n",))) == ["yes"]
        with pytest.raises(ValueError, match="no beam search"):
            model(server).generate(["a"], Sampling(8, num_beams=2))


def test_a_server_without_log_probabilities_of_prompts_is_refused_in_one_line() -> None:
    with running(FaultServer(shouted)) as server:
        for ask in (lambda m: m.check_ranks(), lambda m: m.loglikelihood([("a", " b")]), lambda m: m.rolling(["a"])):
            with pytest.raises(ValueError, match=r"returns no log-probabilities of a prompt.*exact_match") as raised:
                ask(model(server))
            assert "\n" not in str(raised.value)
        chat = asking(endpoint(server, "/chat/completions"))
        with pytest.raises(ValueError, match="returns no log-probabilities"):
            chat.check_ranks()
    with (
        running(FaultServer(shouted, lambda number, body: "422")) as server,
        pytest.raises(ValueError, match=r"returns no log-probabilities.*it says: .*422"),
    ):
        model(server).check_ranks()


def test_log_likelihoods_count_the_tokens_behind_the_context_whatever_names_a_server_counts() -> None:
    """By hand: tokens of 4 characters; vLLM counts the name of a beginning token among the characters, others do not write one."""
    text = "one two six"

    def reply(bos: bool) -> dict[str, Any]:
        names, values, offsets = ["one ", "two ", "six", "ten"], [-9.0, -2.0, -3.0, -1.0], [0, 4, 8, 11]
        likeliest: list[Any] = [{"one ": -9.0}, {"two ": -2.0}, {"ten": -0.5}, {"ten": -1.0}]
        if bos:
            names, values, likeliest = ["<s>", *names], [None, *values], [None, *likeliest]
            offsets = [0, *(offset + 3 for offset in offsets)]
        scores = {"tokens": names, "token_logprobs": values, "text_offset": offsets, "top_logprobs": likeliest}
        return {"choices": [{"text": text + "ten", "logprobs": scores}]}

    for bos in (False, True):
        served_model = asking(Endpoint("openai:x", "http://127.0.0.1:1/v1", "x"))
        served_model.requests.all = lambda path, bodies, read, progress=None, bos=bos: [
            read(reply(bos)) for _ in bodies
        ]  # type: ignore[method-assign]
        (last, two, straddling, whole) = served_model.loglikelihood(
            [("one two ", "six"), ("one ", "two six"), ("one t", "wo six"), ("", text)]
        )
        assert (last.value, last.greedy, last.tokens) == (-3.0, False, 1)
        assert (two.value, two.greedy, two.tokens) == (-5.0, False, 2)
        assert straddling.value == -5.0, "a token that holds a character of the answer is predicted, as in training"
        assert whole.value == -14.0
        assert served_model.rolling([text]) == [-14.0]


def test_conversations_are_sent_as_messages_and_a_plain_text_as_one_of_the_user() -> None:
    talk = [{"role": "system", "content": "Be\nbrief."}, {"role": "user", "content": "Why? "}]
    text = ServedChat().apply_chat_template(talk, add_generation_prompt=True)
    assert messages_of(text) == talk
    with running(FaultServer(lambda body: json.dumps(body["messages"]))) as server:
        chat = asking(endpoint(server, "/chat/completions"))
        sent = [json.loads(answer) for answer in chat.generate([text, "plain"], Sampling(4))]
    assert sent == [talk, [{"role": "user", "content": "plain"}]]
    assert server.paths == ["/v1/chat/completions"] * 2


def test_the_key_reaches_its_server_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server writes the key into its error, as real ones do."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    monkeypatch.setenv("HOLDFAST_TRIES", "1")
    with running(FaultServer(shouted)) as server:
        model(server).generate(["a"], Sampling(4))
        assert server.keys == [None], "OpenAI's key is for OpenAI's own servers"
    monkeypatch.setenv("HOLDFAST_API_KEY", "sk-secret")
    with running(FaultServer(shouted, lambda number, body: "401" if number == 2 else None)) as server:
        with pytest.raises(ValueError, match=r"answers 401.*is not accepted") as raised:
            twice(endpoint(server), tmp_path)
        assert server.keys == ["Bearer sk-secret"] * 2
        with served(endpoint(server), tmp_path) as asked_model:
            asked_model.generate(["a", "b"], Sampling(4))
    everything = str(raised.value) + repr(asked_model) + "".join(capsys.readouterr())
    everything += "".join(path.read_text() for path in tmp_path.iterdir())
    assert "secret" not in everything
    assert json.loads((tmp_path / USAGE).read_text())["kept"] == 1
    assert not (tmp_path / RECEIVED).exists()


def test_a_redirect_is_not_followed_and_an_endless_answer_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_API_KEY", "sk-secret")
    with running(FaultServer(shouted)) as other:
        turned = FaultServer(shouted, lambda number, body: "302", elsewhere=f"{other.url}/completions")
        with running(turned) as server, pytest.raises(ValueError, match="answers 302"):
            model(server).generate(["a"], Sampling(4))
        assert other.bodies == []
    monkeypatch.setattr("holdfast.inference.requests.MOST_BYTES", 1 << 20)
    with running(FaultServer(lambda body: "x" * (2 << 20))) as server:
        with pytest.raises(ValueError, match="sends more than 1 MiB for one question"):
            model(server).generate(["a"], Sampling(4))
        assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("variable", "url"),
    [("HOLDFAST_API_KEY", "http://127.0.0.1:1/v1"), ("OPENAI_API_KEY", "https://api.openai.com/v1")],
)
@pytest.mark.parametrize("key", ["sk-one\nsk-two", "sk-ключ"], ids=["two lines", "no ASCII"])
def test_a_key_that_fits_in_no_header_is_refused_by_the_name_of_its_variable(
    variable: str, url: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bug: a broken connection was reported, after all tries, or the other variable was named."""
    monkeypatch.delenv("HOLDFAST_API_KEY", raising=False)
    monkeypatch.setenv(variable, key)
    where = endpoint_of(f"openai:{url}#x")
    assert where is not None
    with pytest.raises(ValueError, match=f"^{variable}: has characters that no key has") as raised:
        Requests(where)
    assert "sk-" not in str(raised.value)


def twice(where: Endpoint, folder: Path) -> None:
    with served(where, folder) as asked_model:
        asked_model.generate(["a"], Sampling(4))
        asked_model.generate(["b"], Sampling(4))


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("openai:http://127.0.0.1:8000/v1", "with the name that the server gives the model"),
        ("openai:127.0.0.1:8000#x", "write openai:URL#NAME"),
        ("openai:http://me:secret@host/v1#x", "HOLDFAST_API_KEY"),
        ("openai:https://host/v1?key=secret#x", "HOLDFAST_API_KEY"),
    ],
)
def test_an_address_that_is_none_or_holds_a_password_is_refused(argument: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as raised:
        endpoint_of(argument)
    assert "secret" not in str(raised.value)


def test_limits_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_CONCURRENCY", "32")
    assert RequestSettings.of_environment().concurrency == 32
    monkeypatch.setenv("HOLDFAST_TIMEOUT", "soon")
    with pytest.raises(ValueError, match="HOLDFAST_TIMEOUT=soon: write a number above 0"):
        RequestSettings.of_environment()


ECHOED: dict[str, Any] = {
    "tokens": ["The", " end"], "token_logprobs": [None, -1.5], "text_offset": [0, 3], "top_logprobs": [None, {" end": -1.5}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tokens", ["The", {}]),
        ("text_offset", ["0", 3]),
        ("text_offset", [0, None]),
        ("token_logprobs", [None, "x"]),
        ("token_logprobs", [None, float("nan")]),
        ("top_logprobs", [None, {" end": []}]),
        ("top_logprobs", [None, 3]),
        ("tokens", ["The", " end", "more"]),
    ],
)
def test_tokens_of_another_type_are_a_damaged_answer(key: str, value: Any) -> None:
    """Found by fuzzing: such an answer is asked for again, and then one line; it was a traceback."""
    assert len(reader._tokens({"choices": [{"logprobs": ECHOED}]})["tokens"]) == 2
    with pytest.raises((TypeError, ValueError, AttributeError)):
        reader._tokens({"choices": [{"logprobs": ECHOED | {key: value}}]})
