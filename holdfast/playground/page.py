"""The playground's page, on Gradio (`pip install 'holdfast[playground]'`). Nothing on it is loaded from elsewhere.

Model output is text: everything is escaped before it becomes markup.
"""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markupsafe import Markup

from holdfast.playground.bench import LONGEST_INPUT, MOST_SHOTS, PLAIN, Bench, Reply, Sample
from holdfast.playground.guard import LOCAL, PlaygroundGuard, is_loopback
from holdfast.playground.parting import Parting

# Before Gradio is imported: it reads these then, and would otherwise ask its makers for news.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

try:
    import gradio as gr
    from gradio.themes import Default
    from starlette.middleware import Middleware
except ImportError as error:
    raise ValueError("the playground needs Gradio; pip install 'holdfast[playground]'") from error

STYLE = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
HEAD = '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
EXAMPLES = (
    "<h2>Examples of the report</h2><p class='note'>Chosen by the report’s rule: where an answer fell or rose most.</p>"
)
MOST_WAITING = 16  # requests in the queue
ITEMS = "<h2>Examples</h2><p class='note'>The first test items of each task.</p>"
TAIL = 24  # characters of what two answers share that are shown where they part
WAITING = "Ask something, and the answer appears here."


def serve(bench: Bench, *, host: str, port: int | None, wait: bool = True) -> tuple[Any, str]:
    """Serve the page at `host` and return (page, address); with `wait`, only when it is stopped (Ctrl-C)."""
    blocks = page(bench)
    sans = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]  # names of fonts, none of them fetched
    theme = Default(
        primary_hue="blue", neutral_hue="slate", font=sans, font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"]
    ).set(  # the theme's own grey and blue are too pale to read
        body_text_color_subdued="*neutral_600", body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_600", block_info_text_color_dark="*neutral_400",
        block_label_text_color="*neutral_700", block_title_text_color="*neutral_700",
        button_primary_background_fill="*primary_600", button_primary_background_fill_hover="*primary_700",
        input_placeholder_color="*neutral_500", input_placeholder_color_dark="*neutral_400",
    )  # fmt: skip
    # An answer takes seconds, so that a queue of more is of people who left.
    blocks.queue(max_size=MOST_WAITING)
    local = is_loopback(host)
    # Whoever is let in from other machines may ask the models, and reads the examples of the run's data.
    password = None if local else secrets.token_urlsafe(12)
    guard = Middleware(PlaygroundGuard, hosts=(*LOCAL, host) if local else ())
    _, address, _ = blocks.launch(
        server_name=host, server_port=port, share=False, quiet=True, prevent_thread_lock=True, inbrowser=False,
        ssr_mode=False, footer_links=[], theme=theme, css=STYLE, head=HEAD, enable_monitoring=False, show_error=True,
        auth=None if password is None else ("holdfast", password), app_kwargs={"middleware": [guard]},
    )  # fmt: skip
    if password is not None:
        print(f"Other machines can reach this page. User: holdfast, password: {password}", flush=True)
    # Gradio serves in a thread of its own, which ends with the main one.
    if wait:
        print(f"Playground of {bench.name}: {address} (Ctrl-C ends it)", flush=True)
        blocks.block_thread()
    return blocks, address


def page(bench: Bench) -> Any:
    """Return the page as Gradio blocks, not yet served."""
    with gr.Blocks(title=f"{bench.name} – holdfast playground", analytics_enabled=False, fill_width=True) as blocks:
        gr.HTML(_header(bench), elem_id="head", padding=False)
        with gr.Row(elem_id="question"):
            with gr.Column(scale=3, min_width=280):
                text = gr.Textbox(
                    label="Input", max_length=LONGEST_INPUT, lines=8, max_lines=20, elem_id="input",
                    placeholder="What every model is asked, or choose an example below.",
                )  # fmt: skip
            with gr.Column(scale=2, min_width=240):
                names = [*bench.tasks, PLAIN]
                task = gr.Dropdown(
                    names,
                    value=names[0],
                    label="Asked as",
                    info="Its demonstrations, and where an answer ends",
                    elem_id="task",
                )
                shots = gr.Radio(
                    [("off", 0), *((str(k), k) for k in (1, 2, MOST_SHOTS))],
                    value=0,
                    label="Demonstrations",
                    elem_id="shots",
                )
                new = gr.Slider(1, 256, value=32, step=1, label="Most new tokens", elem_id="new")
        ask = gr.Button("Ask", variant="primary", elem_id="ask")
        with gr.Row(elem_id="answers"):
            answers = [gr.HTML(_card(Reply(state, "", []), WAITING), padding=False) for state in bench.models]
        with gr.Accordion("What the models read", open=False):
            read = gr.Textbox(label="Prompt, demonstrations included", lines=6, max_lines=30, interactive=False)
        outputs = [read, *answers]
        event = {
            "fn": _asker(bench),
            "inputs": [text, task, shots, new],
            "outputs": outputs,
            "show_progress": "minimal",
        }
        # Private: whoever can reach the port gets the page, and no interface to script against.
        ask.click(**event, api_visibility="private")
        if bench.samples:
            gr.HTML(EXAMPLES if bench.of_run else ITEMS, padding=False)
            for name, samples in _by_task(bench.samples):
                gr.HTML(Markup("<h3>{}</h3>").format(name), padding=False)
                with gr.Row(elem_classes="samples"):
                    for sample in samples:
                        button = gr.Button(_label(sample), size="sm", variant="secondary")
                        chosen = button.click(
                            _chooser(sample),
                            outputs=[text, task, shots],
                            api_visibility="private",
                            show_progress="hidden",
                        )
                        chosen.then(**event, api_visibility="private")
    return blocks


def _asker(bench: Bench) -> Any:
    def answer(text: str, task: str, shots: int, new: float) -> Iterator[list[str]]:
        try:
            prompt = bench.prompt(text or "", task, int(shots))
            shown = [_card(Reply(state, "", []), "…") for state in bench.models]
            # Shown at once and then filled model by model: an answer of a large model takes its time.
            yield [prompt, *shown]
            for index, reply in enumerate(bench.ask(prompt, task, int(new))):
                shown[index] = _card(reply, first=next(iter(bench.models)))
                yield [prompt, *shown]
        except ValueError as error:
            raise gr.Error(str(error), title="Cannot be asked", print_exception=False) from None

    return answer


def _chooser(sample: Sample) -> Any:
    return lambda: (sample.text, sample.task, sample.shots)


def _label(sample: Sample) -> str:
    """Return a button's text: the end of the question, where it differs from others, and the shots."""
    question = " ".join(sample.text.split())
    return ("…" + question[-44:] if len(question) > 45 else question) + f" ({sample.shots}-shot)"


def _by_task(samples: list[Sample]) -> list[tuple[str, list[Sample]]]:
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.task, []).append(sample)
    return list(groups.items())


def _header(bench: Bench) -> str:
    return Markup("<p class='eyebrow'>Playground</p><h1>{}</h1><p class='verdict'>{}</p>").format(
        bench.name, bench.verdict
    )


def _card(reply: Reply, waiting: str = "", first: str = "") -> str:
    """Return a model's answer, its likeliest first tokens, and where it leaves the answer of the model `first`, as markup."""
    answer = Markup("<p class='note'>{}</p>").format(waiting) if waiting else _answer(reply)
    rows = Markup("").join(
        Markup(
            "<tr><th scope='row'><code>{}</code></th><td class='bar'><span style='width:{:.1f}%'></span></td><td class='share'>{}</td></tr>"
        ).format(_visible(token), 100 * share, _per_cent(share))
        for token, share in reply.first
    )
    table = (
        Markup("<table><caption>First token of the answer</caption><tbody>{}</tbody></table>").format(rows)
        if rows
        else ""
    )
    parting = _parting(reply.parting, first) if reply.parting else ""
    return Markup("<section class='card' aria-live='polite'><h2>{}</h2>{}{}{}</section>").format(
        reply.state, answer, parting, table
    )


def _answer(reply: Reply) -> Markup:
    """Return the text of an answer, marked from where it leaves that of the first model."""
    shared = reply.parting.shared.lstrip() if reply.parting else ""
    if reply.parting and reply.text.startswith(shared):
        marked = Markup("<mark>{}</mark>").format(reply.text[len(shared) :])
    else:
        shared, marked = reply.text, Markup("")
    text = Markup("<pre class='answer' tabindex='0'>{}{}</pre>").format(shared, marked)
    note = Markup("<p class='note'>The same as {}.</p>").format(reply.same) if reply.same else Markup("")
    return (text if reply.text else Markup("<p class='note'>(nothing)</p>")) + note


def _parting(parting: Parting, first: str) -> Markup:
    """Return the probabilities where two answers part, as a table."""
    rows = Markup("").join(
        Markup(
            "<tr><th scope='row'><code>{}</code></th><td class='share'>{}</td><td class='share'>{}</td></tr>"
        ).format(
            _visible(choice.token),
            *("–" if share is None else _per_cent(share) for share in (choice.base, choice.other)),
        )
        for choice in parting.choices
    )
    position = "at the first token"
    if parting.shared:
        position = f"behind “{'…' if len(parting.shared) > TAIL else ''}{_visible(parting.shared[-TAIL:])}”"
    return Markup(
        "<table class='parting'><caption>Leaves {}, {}</caption><thead><tr><th scope='col'>next token</th>"
        "<th scope='col' class='share'>{}</th><th scope='col' class='share'>here</th></tr></thead><tbody>{}</tbody></table>"
    ).format(first, position, first, rows)


def _visible(token: str) -> str:
    """Return a token with its spaces and line breaks made visible."""
    return token.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥") or "(empty)"


def _per_cent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.001 else "<0.1 %"
