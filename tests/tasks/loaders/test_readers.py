"""Files as tasks: the sets of keys, what is held out, the defaults, and every way in which a line can be wrong."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from holdfast.tasks.formats.record_formats import CONVERSATION
from holdfast.tasks.loaders.readers import read_file, read_folder
from holdfast.tasks.task import Task
from holdfast.tasks.text.templates import question

SHARED = Path(__file__).parents[4] / "shared" / "data" / "tasks"
LINE = {"input": "1+1", "target": "2"}


def write(path: Path, *lines: Any) -> Path:
    """Lines that are no text are written as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines), encoding="utf-8")
    return path


def read(folder: Path, *lines: Any, yaml: str = "") -> Task:
    """The task of a folder whose test file has these lines."""
    write(folder / "test.jsonl", *lines)
    if yaml:
        write(folder / "task.yaml", yaml)
    return read_folder(folder)


def asked(task: Task) -> tuple[Any, str]:
    example = task.splits["test"][0]
    return dict(example.fields), example.target


def numbered(n: int, start: int = 0) -> list[dict[str, str]]:
    return [{"input": f"{i} + 1", "target": str(i + 1)} for i in range(start, start + n)]


# --- sets of keys


def test_input_and_target_with_choices_answers_and_further_columns(tmp_path: Path) -> None:
    task = read(tmp_path, {**LINE, "choices": ["2", "3", "2"], "answers": ["two"], "slot": 7})
    (example,) = task.splits["test"]
    assert example.fields == {"input": "1+1", "choices": ["2", "3", "2"], "slot": 7}
    assert example.choices == ("2", "3")
    assert example.accepted == ("2", "two")


def test_prompt_and_completion_are_joined_and_trained_exactly_as_written(tmp_path: Path) -> None:
    task = read(tmp_path, {"prompt": "Q: hi\nA:", "completion": " yes\n"})
    assert asked(task) == ({"prompt": "Q: hi\nA:"}, " yes\n")
    assert (task.template.input, task.template.delimiter) == ("{{ prompt }}", "")


def test_the_last_message_is_the_target_and_what_precedes_it_is_asked(tmp_path: Path) -> None:
    turns = [{"role": r, "content": r} for r in ("system", "user", "assistant", "user", "assistant")]
    task = read(tmp_path, {"messages": turns})
    assert asked(task) == ({"messages": tuple(turns[:-1])}, "assistant")
    assert (task.template.input, task.template.chat) == (CONVERSATION, "auto")


@pytest.mark.parametrize("given", [{}, {"input": ""}, {"input": None}, {"input": "x y"}])
def test_instruction_and_output_need_no_input(tmp_path: Path, given: dict[str, Any]) -> None:
    task = read(tmp_path, {"instruction": "Add.", "output": "2", **given})
    assert asked(task) == ({"instruction": "Add.", "input": given.get("input") or ""}, "2")


def test_text_and_label(tmp_path: Path) -> None:
    assert asked(read(tmp_path, {"text": "good", "label": "positive"})) == ({"text": "good"}, "positive")


def test_any_columns_by_the_template_and_target_of_task_yaml(tmp_path: Path) -> None:
    yaml = 'input: "{{ pair.en }} in French:"\ntarget: pair.fr\nanswers: others\nname: en-fr\nmetric: chrf\nstop: ["."]'
    task = read(tmp_path, {"pair": {"en": "cat", "fr": "chat"}, "others": ["le chat"]}, yaml=yaml)
    (example,) = task.splits["test"]
    assert (example.target, example.accepted, task.name, task.metric) == ("chat", ("chat", "le chat"), "en-fr", "chrf")
    assert task.template.stop == (".",)


def test_the_target_may_be_an_expression_and_the_verbalizer_maps_it(tmp_path: Path) -> None:
    yaml = 'input: "{{ a }}"\ntarget: score > 3.5\nverbalizer: {true: "yes", false: "no"}'
    task = read(tmp_path, {"a": "x", "score": 4.2}, {"a": "y", "score": 1}, yaml=yaml)
    assert [(e.target, e.choices) for e in task.splits["test"]] == [("yes", ("yes", "no")), ("no", ("yes", "no"))]


def test_keep_and_limit_choose_the_rows(tmp_path: Path) -> None:
    task = read(tmp_path, *numbered(10), yaml="limit: 5\nkeep: target != '3'")
    assert [example.target for example in task.splits["test"]] == ["1", "5", "7", "9"]


def test_a_column_that_is_the_target_is_not_a_field_of_the_question(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="uses `label`, which is the answer"):
        read(tmp_path, {"text": "x", "label": "y"}, yaml='input: "{{ text }} {{ label }}"\ntarget: label')


@pytest.mark.parametrize(("suffix", "between"), [(".csv", ","), (".tsv", "\t")])
def test_csv_and_tsv_have_the_same_keys_in_their_header(tmp_path: Path, suffix: str, between: str) -> None:
    path = tmp_path / f"test{suffix}"
    path.write_text(f'input{between}target\n"two\nlines"{between}yes\nx{between}no\n', encoding="utf-8")
    task = read_folder(tmp_path)
    assert [(e.fields["input"], e.target) for e in task.splits["test"]] == [("two\nlines", "yes"), ("x", "no")]


def test_lines_end_at_newlines_only(tmp_path: Path) -> None:
    """Unicode has more line ends than JSONL: U+2028 and U+0085 may stand inside a string."""
    line = json.dumps({"input": "a\u2028b\u0085c", "target": "d"}, ensure_ascii=False)
    assert asked(read(tmp_path, "\ufeff" + line, "", "  "))[0] == {"input": "a\u2028b\u0085c"}


def test_the_page_on_adding_a_task_shows_settings_that_work(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "add-a-task.md").read_text(encoding="utf-8")
    rows = ({"title": "Tea", "body": "Good.", "stars": stars} for stars in (5, 3, 1))
    task = read(tmp_path, *rows, yaml=page.split("```yaml")[1].split("```")[0])
    assert [example.target for example in task.splits["test"]] == ["positive", "negative"]
    assert (task.name, task.metric) == ("sentiment", "accuracy")


# --- defaults


@pytest.mark.parametrize(
    ("line", "metric"),
    [
        ({**LINE, "choices": ["2", "3"]}, "accuracy"),
        (LINE, "exact_match"),
        ({**LINE, "target": "Kal-El\nCoppola", "answers": ["Kal-El"]}, "exact_match"),
        ({"input": "word " * 41, "target": "a summary of ten words " * 2}, "rougeL"),
        ({"input": "word " * 39, "target": "a summary of ten words " * 2}, "bleu"),
    ],
)
def test_the_default_metric_follows_from_the_examples(tmp_path: Path, line: dict[str, Any], metric: str) -> None:
    assert read(tmp_path, line).metric == metric


def test_the_default_stop_is_a_newline_unless_a_target_has_one(tmp_path: Path) -> None:
    assert read(tmp_path, LINE).template.stop == ("\n",)
    assert read(tmp_path, LINE, {"input": "x", "target": "a\nb"}).template.stop == ("\n\n",)
    write(tmp_path / "task.yaml", "separator: '###'")
    assert read_folder(tmp_path).template.stop == ("###",)


# --- what is held out


def test_a_train_split_without_validation_gives_up_a_fixed_tenth(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", *numbered(100))
    write(tmp_path / "test.jsonl", LINE)
    task = read_folder(tmp_path)
    write(tmp_path / "train.jsonl", *numbered(100)[::-1])
    other = read_folder(tmp_path)
    assert {k: len(v) for k, v in task.splits.items()} == {"train": 90, "validation": 10, "test": 1}
    assert sorted(e.target for e in task.splits["validation"]) == sorted(e.target for e in other.splits["validation"])
    assert task.splits["validation"] != read_folder(tmp_path, seed=1).splits["validation"]


def test_at_most_200_are_held_out_and_a_validation_file_is_taken_as_it_is(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", *numbered(2500))
    write(tmp_path / "test.jsonl", LINE)
    assert len(read_folder(tmp_path).splits["validation"]) == 200
    write(tmp_path / "validation.jsonl", *numbered(3))
    assert {k: len(v) for k, v in read_folder(tmp_path).splits.items()} == {"train": 2500, "validation": 3, "test": 1}


def test_equal_examples_stay_on_one_side(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", *numbered(20), *numbered(20))
    write(tmp_path / "test.jsonl", LINE)
    splits = read_folder(tmp_path).splits
    assert not {e.target for e in splits["train"]} & {e.target for e in splits["validation"]}
    write(tmp_path / "train.jsonl", LINE, LINE)
    assert set(read_folder(tmp_path).splits) == {"train", "test"}


def test_a_single_file_is_split_80_10_10(tmp_path: Path) -> None:
    task = read_file(write(tmp_path / "sums.jsonl", *numbered(50)))
    assert (task.name, {k: len(v) for k, v in task.splits.items()}) == (
        "sums",
        {"train": 40, "test": 5, "validation": 5},
    )
    assert len({e.target for split in task.splits.values() for e in split}) == 50
    with pytest.raises(ValueError, match="2 different examples; a task in one file needs at least three"):
        read_file(write(tmp_path / "few.jsonl", *numbered(2), *numbered(2)))


@pytest.mark.parametrize("name", ["train.csv", "feedback.csv"])
def test_one_file_beside_its_settings_is_split_as_the_file_itself_is(tmp_path: Path, name: str) -> None:
    """The bug: the error of a file of other columns asked for a task.yaml, and that of the folder for the file itself."""
    one = tmp_path / "one.csv"
    one.write_text("input,target,comment\n" + "".join(f"is {i} small?,answer {i},none\n" for i in range(50)))
    folder = tmp_path / "feedback"
    folder.mkdir()
    (folder / name).write_text(one.read_text().replace("input,target,", "question,label,"))
    with pytest.raises(ValueError, match=f"give {name} itself, or add a task.yaml, and it is split 80/10/10"):
        read_folder(folder)
    with pytest.raises(ValueError, match=r"name the columns in a folder's task\.yaml"):
        read_file(folder / name)
    write(folder / "task.yaml", 'input: "{{ question }}\\nAnswer:"\ntarget: label')
    split = read_folder(folder)
    assert (split.name, split.source) == ("feedback", str(folder / name))
    assert {k: len(v) for k, v in split.splits.items()} == {"train": 40, "test": 5, "validation": 5}
    (folder / name).write_text(one.read_text())
    write(folder / "task.yaml", "target: target")
    assert read_folder(folder).version == read_file(one).version


def test_what_is_held_out_is_what_earlier_versions_held_out(tmp_path: Path) -> None:
    """Versions that the commit before the one that streams single files gave: with other parts, finished runs would be trained anew."""
    rows = [{"input": f"question {i % 50}", "target": f"answer {i % 7}", "id": i} for i in range(400)]
    one = write(tmp_path / "one.jsonl", *rows)
    write(tmp_path / "folder/train.jsonl", *rows)
    write(tmp_path / "folder/test.jsonl", *rows)
    assert [read_file(one, seed).version for seed in (0, 1)] == ["ce30e8a29da0", "7b76588e4e0e"]
    assert read_folder(tmp_path / "folder").version == "2cb02b970a30"


def test_the_version_changes_with_the_content_and_with_nothing_else(tmp_path: Path) -> None:
    first = read(tmp_path / "a", LINE)
    assert len(first.version) == 12
    assert read(tmp_path / "b", {"target": "2", "input": "1+1"}).version == first.version
    assert read(tmp_path / "c", {**LINE, "target": "3"}).version != first.version
    assert read(tmp_path / "d", LINE, yaml="delimiter: ''").version != first.version


# --- bad input

TALK = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]
BAD_LINES = [
    ('{"input": "x"', "not JSON .*column 14.*write one JSON object"),
    ("[1, 2]", "is a list, not an object"),
    ('{"input": "\\ud800", "target": "x"}', "half of a character"),
    ("[" * 100_000, "nested too deeply"),
    ({"input": "x"}, "no `target`; keys: input"),
    ({"input": "x", "targte": "y"}, "no `target`; is it `targte`\\? keys: input, targte"),
    ({"prompt": "x", "competion": "y"}, "no `completion`; is it `competion`"),
    ({"alpha": "x", "beta": "y"}, "its keys \\(alpha, beta\\) are none of input/target, .*task.yaml"),
    ({}, "its keys \\(none\\) are none of"),
    ({**LINE, "target": ""}, "`target` is empty"),
    ({**LINE, "target": " \n"}, "`target` is empty"),
    ({**LINE, "target": 3}, "`target` is a number, not text; map it to words with `verbalizer`"),
    ({**LINE, "target": None}, "`target` is null, not text"),
    ({**LINE, "input": ["x"]}, "`input` is a list, not text"),
    ({**LINE, "choices": ["3", "two"]}, "the target '2' is not among the choices \\['3', 'two'\\]; correct one"),
    ({"input": "x", "target": "True", "choices": ["true", "false"]}, "did you mean `true`\\?"),
    ({**LINE, "choices": ["2"]}, "leave nothing to choose"),
    ({**LINE, "choices": "2"}, "`choices` is text; write a list"),
    ({**LINE, "choices": []}, "`choices` is a list without entries"),
    ({**LINE, "choices": ["2", 3]}, "`choices` is a number, not text"),
    ({**LINE, "answers": {"a": 1}}, "`answers` is an object; write a list"),
    ({"prompt": TALK, "completion": "x"}, "`prompt` is a list, not text"),
    ({"messages": "hi"}, "no list of at least two messages"),
    ({"messages": TALK[:1]}, "no list of at least two messages"),
    ({"messages": TALK[::-1]}, "the last message is from `user`"),
    ({"messages": [{"content": "hi"}, TALK[1]]}, "message 1 has no `role`"),
    ({"messages": [TALK[0], {"role": "assistant", "content": None}]}, "`messages\\[1\\].content` is null"),
    ({"messages": []}, "an empty conversation; write a question"),
    ({"messages": [TALK[0], TALK[0]]}, "no message is the assistant's, so there is nothing to learn"),
    (
        {"messages": [{"role": "asistant", "content": "x"}, TALK[1]]},
        "message 1 is from `asistant`; did you mean `assistant`\\? roles:",
    ),
    ({"messages": [TALK[0], {**TALK[1], "content": "  "}]}, "`content` of message 2 is empty"),
    ({"messages": [TALK[0], {**TALK[1], "content": [{"type": "image"}]}]}, "message 2 has a part that is no text"),
    (
        {"messages": [TALK[0], {**TALK[1], "tool_calls": {"name": "f"}}]},
        "message 2: `tool_calls` is an object; write a list",
    ),
    (
        {"messages": [{**TALK[0], "tool_calls": [{"name": "f"}]}, TALK[1]]},
        "message 1 has `tool_calls` and is from `user`",
    ),
    ({"messages": [TALK[0], {**TALK[1], "tool_calls": [{"id": "1"}]}]}, "message 2: a tool call has no name"),
    (
        {"messages": [TALK[0], {**TALK[1], "tool_calls": [{"function": {"name": "f", "arguments": "{a: 1}"}}]}]},
        "message 2: the arguments of the tool call `f` are not JSON \\(.*, column 2\\); write an object",
    ),
    (
        {"messages": [TALK[0], {**TALK[1], "tool_calls": [{"name": "f", "arguments": "[1]"}]}]},
        "call `f` are a list; write an object",
    ),
    ({"messages": TALK, "tools": "[{"}, "`tools` is not JSON"),
    ({"messages": TALK, "tools": {"name": "f"}}, "`tools` is an object; write a list of schemas"),
    ({"prompt": "x", "completion": "y"}, "the keys prompt/completion come after input/target"),
]


@pytest.mark.parametrize(("line", "said"), BAD_LINES)
def test_a_bad_line_is_reported_with_its_place_the_fault_and_the_fix(tmp_path: Path, line: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"test.jsonl:2: .*{said}") as caught:
        read(tmp_path, LINE, line, LINE)
    assert "\n" not in str(caught.value)


def test_every_bad_line_of_every_file_is_reported_at_once(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", "{", LINE, {**LINE, "target": 3})
    write(tmp_path / "test.jsonl", LINE, {"input": "x"})
    with pytest.raises(ValueError, match=r"train\.jsonl:1: ") as caught:
        read_folder(tmp_path)
    places = [line.split(": ")[0] for line in str(caught.value).splitlines()]
    assert places == [f"{tmp_path}/{place}" for place in ("train.jsonl:1", "train.jsonl:3", "test.jsonl:2")]


def test_the_first_twenty_are_listed_and_the_rest_counted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="and 3 more like these") as caught:
        read(tmp_path, *[{f"key{n}": "x"} for n in range(23)])
    assert len(str(caught.value).splitlines()) == 21


def test_what_is_wrong_with_all_lines_is_said_once_with_their_number(tmp_path: Path) -> None:
    """The bug: twenty lines said the same, and what else was wrong stood behind them, uncounted."""
    (tmp_path / "train.csv").write_text("question,label\n" + "a,b\n" * 30)
    with pytest.raises(ValueError, match="which is not there") as caught:
        read(tmp_path, *[{"question": "a", "label": "b"}] * 2, yaml='input: "{{ text }}"\ntarget: label')
    train, test = str(caught.value).splitlines()
    assert train.startswith(f"{tmp_path}/train.csv:2, 3, 4, 5, 6 and 25 more lines: the template uses `text`")
    assert test.startswith(f"{tmp_path}/test.jsonl:1, 2: the template uses `text`")


def test_the_columns_that_a_template_may_mean_are_all_named(tmp_path: Path) -> None:
    line = {"question": "a", "label": "b", "comment": "c"}
    with pytest.raises(ValueError, match=r"`text`, which is not there; .*fields: question, label, comment"):
        read(tmp_path, line, yaml='input: "{{ text }}"\ntarget: label')


def test_a_field_that_the_template_needs_is_missed_on_its_line(tmp_path: Path) -> None:
    lines = [{"premise": "x", "answer": "y"}, {"premisse": "x", "answer": "y"}]
    with pytest.raises(ValueError, match=r"test\.jsonl:2: .*uses `premise`.*did you mean `premisse`"):
        read(tmp_path, *lines, yaml='input: "{{ premise }}"\ntarget: answer')


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("separater: x", "unknown key `separater`; did you mean `separator`\\?"),
        ("metric: blue", "`metric` 'blue' is unknown; did you mean `bleu`\\?"),
        ("delimiter: 3", "`delimiter` is a number, not text; put it in quotes"),
        ("stop: {a: b}", "`stop` is an object; write one text or a list"),
        ("stop: ''", "`stop` holds an empty text"),
        ("chat: maybe", "`chat` 'maybe' is unknown"),
        ("verbalizer: [a]", "`verbalizer` is a list"),
        ("verbalizer: {0: 1}", "`verbalizer` maps to 1, which is no text"),
        ("verbalizer: {a: b}", "`target` is '2', which the verbalizer does not map \\(a\\)"),
        ("splits: {dev: x}", "`splits` .* is no mapping of train, validation, test"),
        ("input: '{{ x'", "`input`: the template is not valid Jinja"),
        ("target: '1 +'", "`1 \\+` is neither a column nor a Jinja expression"),
        ("target: anwser", "uses `anwser`, which is not there"),
        ('delimiter: "\\n"', "the delimiter '\\\\n' contains the stop string '\\\\n'.*`delimiter: \"\"`"),
        ("keep: a > 1", "test.jsonl:1: `keep`: .*uses `a`, which is not there"),
        ("keep: input == 'x'", "task.yaml: `keep` leaves no example of test"),
        ("limit: 0", "`limit` 0 is no number of examples"),
        ("- a", "is a list; write `key: value` lines"),
        ("a: [", "task.yaml:2: not YAML"),
    ],
)
def test_a_bad_task_yaml_is_refused(tmp_path: Path, yaml: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read(tmp_path, LINE, yaml=yaml)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl")
    (tmp_path / "train.jsonl").write_bytes(b'{"input": "\xff"}')
    (tmp_path / "validation.csv").write_text('input,target\n"x",y,z\n')
    with pytest.raises(ValueError, match="is not UTF-8") as caught:
        read_folder(tmp_path)
    said = str(caught.value).splitlines()
    assert "train.jsonl: is not UTF-8 text (byte 11)" in said[0]
    assert "validation.csv:2: has 3 cells, the header 2" in said[1]
    assert "test.jsonl: has no examples" in said[2]


def test_a_folder_without_the_right_files_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no train.jsonl or test.jsonl \(it holds: nothing\)"):
        read_folder(tmp_path)
    write(tmp_path / "train.jsonl", LINE)
    with pytest.raises(
        ValueError, match=r"no test\.jsonl or test\.csv to measure on; add it; or give train.jsonl itself"
    ):
        read_folder(tmp_path)
    write(tmp_path / "validation.jsonl", LINE)
    write(tmp_path / "task.yaml", "target: target")
    with pytest.raises(ValueError, match=r"no test\.jsonl or test\.csv to measure on; add it$"):
        read_folder(tmp_path)
    for name in ("validation.jsonl", "task.yaml"):
        (tmp_path / name).unlink()
    write(tmp_path / "test.jsonl", LINE)
    write(tmp_path / "dev.jsonl", LINE)
    with pytest.raises(ValueError, match=r"dev.jsonl: would be ignored; rename it validation.jsonl"):
        read_folder(tmp_path)
    (tmp_path / "dev.jsonl").rename(tmp_path / "test.csv")
    with pytest.raises(ValueError, match=r"there is also test.csv; keep one"):
        read_folder(tmp_path)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a task is a folder or a \.jsonl, \.csv, \.tsv file"):
        read_file(write(tmp_path / "data.parquet", "x"))


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data is not here")
def test_every_real_task_can_be_read() -> None:
    folders = sorted(path.parent for path in SHARED.rglob("test.jsonl"))
    assert len(folders) > 70
    for folder in folders:
        task = read_folder(folder)
        lines = (folder / "test.jsonl").read_text(encoding="utf-8").count("\n")
        assert len(task.splits["test"]) == lines, folder
        assert len(task.splits.get("validation", ())) <= 200
        assert "train" in task.splits or not (folder / "train.jsonl").exists()


# --- conversations

CALLING = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1}'}}]}


@pytest.mark.parametrize(
    ("yaml", "answer", "said"),
    [
        ("think: require", TALK[1], "message 2 has no `<think>` block, which `think: require` asks for"),
        ("think: require", {**TALK[1], "content": "<think>\n\n</think>\n\nyes"}, "message 2 has no `<think>` block"),
        ("loss: call", TALK[1], "no message calls a tool, so `loss: call` has nothing to learn"),
    ],
)
def test_what_a_setting_needs_of_a_conversation_is_missed_on_its_line(
    tmp_path: Path, yaml: str, answer: dict[str, str], said: str
) -> None:
    good = {**CALLING, "reasoning_content": "Hm."}
    with pytest.raises(ValueError, match=f"test.jsonl:2: .*{said}"):
        read(tmp_path, {"messages": [TALK[0], good]}, {"messages": [TALK[0], answer]}, yaml=yaml)


def test_thinking_is_required_of_what_is_trained_alone(tmp_path: Path) -> None:
    talk = [*TALK, TALK[0], {**TALK[1], "reasoning": "Hm."}]
    assert read(tmp_path, {"messages": talk}, yaml="think: require\nloss: last").template.loss == "last"
    with pytest.raises(ValueError, match="message 2 has no `<think>` block"):
        read(tmp_path, {"messages": talk}, yaml="think: require")


def test_all_answers_are_trained_where_there_are_several_and_other_tasks_keep_their_version(tmp_path: Path) -> None:
    single, several = {"messages": TALK}, {"messages": [*TALK, *TALK]}
    alone = read(tmp_path / "a", single)
    assert (alone.template.loss, alone.version) == ("last", "505d2268cf67")
    assert read(tmp_path / "b", single, several).template.loss == "all"
    assert read(tmp_path / "c", several, yaml="loss: last").template.loss == "last"


def test_tool_calls_are_text_and_marked_as_calls(tmp_path: Path) -> None:
    task = read(
        tmp_path,
        {"messages": [TALK[0], CALLING], "tools": "[]"},
        {"messages": [TALK[0], CALLING], "tools": [{"name": "f"}]},
    )
    fields, target = asked(task)
    assert (fields.keys(), target) == ({"messages"}, '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>')
    assert task.splits["test"][1].fields["tools"] == [{"name": "f"}]
    assert (task.metric, task.template.stop) == ("tool_call", ("\n\n",))


def test_an_answer_behind_thinking_ends_at_the_end_token_alone(tmp_path: Path) -> None:
    """The bug: a blank line ended every answer, and a block of thinking is followed by one."""
    task = read(tmp_path, {"messages": [TALK[0], {**TALK[1], "thinking": "Hm."}]})
    assert (task.template.stop, task.metric) == ((), "exact_match")


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("loss: some", "`loss` 'some' is unknown; write all, last, call"),
        ("think: dorp", "`think` 'dorp' is unknown; did you mean `drop`\\? write keep, drop, require"),
        ("think: drop", "`think` is for lines with `messages`, and these have input/target; remove it"),
    ],
)
def test_settings_of_conversations_are_checked(tmp_path: Path, yaml: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read(tmp_path, LINE, yaml=yaml)


# --- what a stranger brings


def test_a_column_that_is_no_name_has_one_with_underscores(tmp_path: Path) -> None:
    yaml = 'input: "{{ Review_text }} ({{ _5_stars }})\\nLabel:"\ntarget: Star rating\n'
    line = {"Review text": "good", "5 stars": "of 5", "Star rating": "yes"}
    task = read(tmp_path, line, yaml=yaml)
    assert question(task.template, task.splits["test"][0]) == "good (of 5)\nLabel:"
    with pytest.raises(ValueError, match="uses `Review_txt`, which is not there; did you mean `Review_text`"):
        read(tmp_path, line, yaml=yaml.replace("Review_text", "Review_txt"))


def test_a_table_with_semicolons_says_so_once(tmp_path: Path) -> None:
    path = write(tmp_path / "all.csv", "input;target", *(f"a, b {n};c" for n in range(9)))
    with pytest.raises(ValueError, match="its columns seem to be separated by `;`") as refused:
        read_file(path)
    assert str(refused.value).count("\n") == 0


def test_a_folder_of_texts_says_how_documents_are_given(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A text.")
    said = 'a document is a line {"text": "..."} of train.jsonl'
    for read_it, where in ((read_folder, tmp_path), (read_file, tmp_path / "a.txt")):
        with pytest.raises(ValueError, match=re.escape(said)):
            read_it(where)
