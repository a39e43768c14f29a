"""Write the pages of the site that no file holds: one for each technique, the lists of them, the notebooks, the Python interface."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast.cli import listings
from holdfast.cli.listings import Explained
from holdfast.plugins import ANALYSES, CURATIONS, DECODINGS, EDITS, METHODS, RECIPES, Family, Technique, techniques
from holdfast.recipes.describe import Setting

DOCS = Path(__file__).parents[1]
SOURCE = "https://github.com/holdfast/holdfast/blob/main"
# Where something was measured: these pages are searched for a technique's name.
EVIDENCE = ("studies/*.md", "studies/papers/*.md", "lab-notes.md", "precision.md")


@dataclass(frozen=True)
class Moment:
    """A moment at which techniques act: its folder in the site, what it is about, and what explains one of it."""

    folder: str
    title: str
    about: str
    families: tuple[Family, ...]
    explain: Callable[[str], Explained]

    def techniques(self) -> dict[str, Technique]:
        """Return the techniques of this moment by name, those that join another last."""
        known: dict[str, Technique] = {}
        for family in self.families:
            known |= techniques(family)
        return dict(sorted(known.items(), key=lambda item: (item[1].joins, item[0])))


MOMENTS = (
    Moment("curations", "Before training: curations", "Change the training data. `--curate NAME` of `tune` and `study`.",
           (CURATIONS,), listings.explained_curation),
    Moment("methods", "During training: methods and recipes",
           "Choose which parameters move, the loss, and the order of stages. `--method NAME` of `tune` and `study`. A name with `+` joins "
           "another (`full+l2_sp`); [which go together](../combinations.md).", (RECIPES, METHODS), listings.explained_method),
    Moment("edits", "After training: edits", "Change the difference between a tuned model and its base. `--edit NAME` of `tune` or `edit`.",
           (EDITS,), listings.explained_edit),
    Moment("decodings", "At inference: decodings", "Change the prompt or the logits. `--decode NAME` of `tune`, `evaluate` and `generate`.",
           (DECODINGS,), listings.explained_decoding),
    Moment("analyses", "When looking: analyses", "Say what was lost, and why. `--analyse NAME` of `tune`, `study` and `evaluate`.",
           (ANALYSES,), listings.explained_analysis),
)  # fmt: skip


def generated() -> dict[str, str]:
    """Return every page of techniques: its path in the site, and its Markdown."""
    sections = evidence()
    pages = {"techniques/index.md": index()}
    for moment in MOMENTS:
        for name, technique in moment.techniques().items():
            pages[f"techniques/{moment.folder}/{name}.md"] = page(moment, technique, moment.explain(name), sections)
    return pages


def navigation() -> list[Mapping[str, object]]:
    """Return the pages of techniques as MkDocs lists them in `nav`, under their moments."""
    listed: list[Mapping[str, object]] = [{"All": "techniques/index.md"}]
    for moment in MOMENTS:
        pages = [{name: f"techniques/{moment.folder}/{name}.md"} for name in moment.techniques()]
        listed.append({moment.title: pages})
    return listed


def index() -> str:
    """Return the list of all techniques by the moment at which they act."""
    parts = [
        "# Techniques\n\nEverything published against forgetting acts at one of five moments, and a run composes one technique of each. "
        "Which of them to take: [choosing a method](../questions/choosing-a-method.md).\n"
    ]
    for moment in MOMENTS:
        parts.append(f"## {moment.title}\n\n{moment.about}\n\n| name | what it does |\n| --- | --- |")
        for name, technique in moment.techniques().items():
            plus = "+" if technique.joins else ""
            parts.append(f"| [`{plus}{name}`]({moment.folder}/{name}.md) | {_cell(technique.summary)} |")
        parts.append("")
    return "\n".join(parts)


def page(moment: Moment, technique: Technique, explained: Explained, sections: Sequence["Section"]) -> str:
    """Return a technique's page: what it does and when to use it, an example, its settings, its source, and where it was measured."""
    path = technique.module.replace(".", "/") + ".py"
    parts = [f"# {technique.name}\n\n{technique.summary}\n", technique.about + "\n" if technique.about else ""]
    parts.append(f"```bash\n{explained.example}\n```\n")
    if technique.joins:
        parts.append(
            f"It joins another method: `full+{technique.name}`, `promot+{technique.name}`; alone it stands for the first.\n"
        )
    parts.append(settings(explained))
    parts.append(
        f"## Source\n\n{technique.source + '. ' if technique.source else ''}In the code: [{path}]({SOURCE}/{path}).\n"
    )
    measured = [section for section in sections if mentions(section, technique.name)]
    links = "\n".join(f"- [{section.title}](../../{section.address})" for section in measured)
    parts.append(
        f"## Measured here\n\n{links or 'In no study here yet: its tests check what it computes, and not how much it helps.'}\n"
    )
    return "\n".join(filter(None, parts))


def settings(explained: Explained) -> str:
    """Return the tables of settings: a stage's own, and what every training stage has."""
    parts: list[str] = []
    for stage in explained.stages:
        if not stage.settings and not stage.methods:
            continue
        trains = f" (trains with {' and '.join(f'`{method}`' for method in stage.methods)})" if stage.methods else ""
        title = f"### Stage `{stage.name}`{trains}" if stage.loop else "### All"
        rows = [
            row(f"{stage.name}.{setting.name}" if stage.name else setting.name, setting) for setting in stage.settings
        ]
        parts.append(f"{title}\n\n{HEADER}\n" + "\n".join(rows) + "\n" if rows else f"{title}\n\nNone of its own.\n")
    shared = listings.shared_settings(explained.stages)
    if shared:
        parts.append(f"### Of every training stage\n\n{HEADER}\n" + "\n".join(row(*pair) for pair in shared) + "\n")
    return "## Settings\n\n" + ("\n".join(parts) if parts else "None.\n")


HEADER = "| `--set` | default | meaning (values) |\n| --- | --- | --- |"


def row(name: str, setting: Setting) -> str:
    """Return a setting as a row of a table."""
    values = "fixed by the recipe" if setting.fixed else setting.values
    meaning = f"{setting.meaning} ({values})" if setting.meaning else values
    return f"| {'<br>'.join(f'`{part}`' for part in _spelled(name))} | `{_cell(setting.default)}` | {_cell(meaning)} |"


def _spelled(name: str) -> list[str]:
    """Return `prompt.steps` and `model.steps` for `prompt|model.steps`."""
    stages, _, field = name.rpartition(".")
    return [f"{stage}.{field}" for stage in stages.split("|")] if stages else [name]


def _cell(text: str) -> str:
    # A bar would end the cell, and a line break the row.
    return text.replace("\n", "\\n").replace("|", "\\|")


@dataclass(frozen=True)
class Section:
    """A section of a page of evidence, and the plans of the studies that it gives."""

    title: str
    address: str
    text: str
    plans: str


def evidence() -> list[Section]:
    """Return the sections of the studies and notes, each with its address in the site."""
    sections: list[Section] = []
    for pattern in EVIDENCE:
        for path in sorted(DOCS.glob(pattern)):
            if path.name == "README.md":
                continue
            parts = re.split(r"^(#{1,3} .+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
            title = parts[0].lstrip("# ").strip()
            for heading, text in zip(parts[::2], parts[1::2], strict=True):
                words = heading.lstrip("# ").strip()
                address = f"{path.relative_to(DOCS).as_posix()}#{anchor(words)}"
                plans = [
                    (DOCS / name).read_text(encoding="utf-8")
                    for name in re.findall(r"docs/(studies/[\w-]+\.yaml)", text)
                ]
                sections.append(
                    Section(title if words == title else f"{title} – {words}", address, text, "\n".join(plans))
                )
    return sections


def anchor(heading: str) -> str:
    """Return the anchor of a heading, as hubs and this site make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def mentions(section: Section, name: str) -> bool:
    """Return whether a section measured a technique: it has it in code, as an arm of a table, in a plan, or by its name in print.

    A name in print has several capitals (`WiSE-FT`); one with an underscore is no word of English.
    """
    whole = rf"(?<![\w.-]){name}(?![\w-])"
    arm = rf"^\| (?:[^|\n]*\+)?{name}(?: [^|\n]*|[,+:][^|\n]*)?\|"
    if re.search(rf"`[^`\n]*{whole}[^`\n]*`|{arm}", section.text, re.MULTILINE):
        return True
    if re.search(whole, re.sub(r"#.*", "", section.plans)) or ("_" in name and re.search(rf"\b{name}\b", section.text)):
        return True
    printed = (word for word in re.findall(r"[\w-]+", section.text) if sum(letter.isupper() for letter in word) > 1)
    return any(re.sub(r"[\W_]", "", word.lower()) == name.replace("_", "") for word in printed)


# Notebooks.


def notebook(path: Path) -> str:
    """Return an executed notebook as Markdown: text as it is, code, and outputs below it.

    Raises:
        ValueError: a cell has an output that no page can show.
    """
    parts: list[str] = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        parts += [_shown(output, path) for output in cell["outputs"]]
    parts.append(f"The notebook itself: [{path.name}]({SOURCE}/docs/notebooks/{path.name}).")
    return "\n\n".join(parts) + "\n"


def _shown(output: Mapping[str, object], path: Path) -> str:
    text = output.get("text")
    data = output.get("data")
    if text is None and isinstance(data, dict):
        # Markup of a notebook would be markup of the site; its text says the same.
        text = data.get("text/plain")
    if not isinstance(text, list | str):
        raise ValueError(f"{path}: an output of type {output.get('output_type')} has no text to show")
    return f'<div class="output" markdown>\n\n```text\n{"".join(text).rstrip()}\n```\n\n</div>'
