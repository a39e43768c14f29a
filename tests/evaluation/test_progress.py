"""What an evaluation says while it asks: plain lines in a log file, a bar on a terminal, and names as they are written."""

import pytest

from holdfast.evaluation.progress import AskingProgress, duration


def test_a_log_file_has_a_line_for_each_part_with_the_time_that_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    with AskingProgress("base", [40, 40, 80], clock=lambda: now[0]) as progress:
        for text, seconds in (("agnews, 0 shots", 60.0), ("agnews, 4 shots", 80.0), ("x[/b], 1 shot", 9.0)):
            progress.begin(text)
            now[0] += seconds
            progress.done()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "base: agnews, 0 shots: 40 items; part 1 of 3",
        "base: agnews, 4 shots: 40 items; part 2 of 3; about 3 min left",  # 1.5 s an item, 120 items to come
        "base: x[/b], 1 shot: 80 items; part 3 of 3; about 2 min left",  # 1.75 s an item, 80 to come
    ]


def test_parts_asked_before_a_kill_are_counted_and_tell_nothing_about_the_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with AskingProgress("tuned, prompt on", [40, 1]) as progress:
        progress.skip()
        progress.begin("sst2, 4 shots")
        progress.done()
    assert capsys.readouterr().err == "tuned, prompt on: sst2, 4 shots: 1 item; part 2 of 2\n"


def test_a_terminal_gets_a_bar_and_no_lines_and_reads_no_name_as_markup(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with AskingProgress("base", [4, 4]) as progress:
        assert progress.terminal
        progress.begin("x[/b], 0 shots")  # as markup, a closing tag without its opening one is an error
        progress.done()
        progress.bar.refresh()
    err = capsys.readouterr().err
    assert "x[/b], 0 shots" in err
    assert "4/8" in err


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.1, "1 s"), (59, "59 s"), (61, "1 min"), (119, "2 min"), (4800, "1 h 20 min")]
)
def test_a_duration_is_said_in_few_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text
