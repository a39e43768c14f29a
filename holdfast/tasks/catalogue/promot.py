"""The tasks of ProMoT (arXiv 2211.00635, Tables 7 and 8): four to tune on, eight to keep.

Templates and words are the paper's; what it does not state is ours: a newline between demonstrations is doubled, a
space stands before the answer. Where the public test labels are hidden, the validation split is measured on, as the
paper does for SuperGLUE; it does not say how it marks TriviaQA's hidden test answers, and here validation serves too.

The paper cuts an answer where its task's prefix comes a second time (`Q:`, `Translate`, `Article:`): where the model goes on
with a next example. The first time is the question's own, so the prefix is a stop string here.
"""

from collections.abc import Mapping

from holdfast.tasks.catalogue.entry import Entry, labels
from holdfast.tasks.formats.settings import TaskYaml

PAPER = "arXiv 2211.00635"
DEV = {"train": "train", "test": "validation"}
TWO_WAY = "{{ premise }} question: {{ hypothesis }} Is it true or false? answer:"
THREE_WAY = "{{ premise }} question: {{ hypothesis }} Is it true or false or neither? answer:"
WIC = (
    "{{ sentence1 }} {{ sentence2 }} question: The word {{ word }} is used in the same way in the two sentences. "
    "Is it true or False? answer:"
)
LETTERS = (
    "Q: {{ question_stem }} A) {{ choices.text[0] }} B) {{ choices.text[1] }} C) {{ choices.text[2] }} "
    "D) {{ choices.text[3] }} A:"
)
QUESTION = "Q: {{ question }} A:"
MANY = 100_000  # of the millions of sentence pairs: more than the paper's stage 2 reads (64,000)


def _translation(role: str, year: int, target: str, language: str, config: str) -> Entry:
    settings = TaskYaml(
        source=f"hf:wmt/wmt{year}:{config}",
        input="Translate English to " + language + ": {{ translation.en }}",
        target=f"translation.{target}",
        metric="bleu",
        stop=("\n", "Translate"),
        limit=MANY,
    )
    return Entry(f"translation, English to {language} (WMT{year})", PAPER, role, ("translation",), settings)


def _summary(source: str, what: str, text: str, target: str, columns: tuple[str, ...], keep: str | None) -> Entry:
    settings = TaskYaml(
        source=source,
        input="Article: {{ " + text + " }} One sentence summary:",
        target=target,
        metric="rouge2",
        stop=("\n\n", "Article:"),  # WikiLingua's summaries have lines.
        keep=keep,
    )
    return Entry(what, PAPER, "general", columns, settings)


def _nli(role: str, source: str, what: str, template: str, words: Mapping[str, str], dev: bool = True) -> Entry:
    settings = TaskYaml(
        source=source,
        input=template,
        target="label",
        verbalizer=words,
        metric="accuracy",
        splits=DEV if dev else None,
        keep="label != -1",  # -1: annotators did not agree, or the label is kept secret.
    )
    return Entry(what, PAPER, role, ("premise", "hypothesis", "label"), settings)


ENTRIES = {
    "promot-rte": _nli(
        "target",
        "hf:aps/super_glue:rte",
        "does one text follow from another (SuperGLUE RTE)",
        TWO_WAY,
        labels("entailment", "not_entailment", to=("True", "False")),
    ),
    "promot-en-fr": _translation("target", 14, "fr", "French", "fr-en"),
    "promot-snli": _nli(
        "target",
        "hf:stanfordnlp/snli",
        "entailment between image captions (SNLI)",
        THREE_WAY,
        labels("entailment", "neutral", "contradiction", to=("True", "Neither", "False")),
        dev=False,
    ),
    "promot-openbookqa": Entry(
        "elementary science questions with four choices (OpenBookQA)",
        PAPER,
        "target",
        ("question_stem", "choices", "answerKey"),
        TaskYaml(
            source="hf:allenai/openbookqa:main",
            input=LETTERS,
            target="answerKey",
            choices="choices.label",
            metric="accuracy",
            stop=("\n", "Q:"),
        ),
    ),
    "promot-cb": _nli(
        "general",
        "hf:aps/super_glue:cb",
        "does a speaker mean an embedded clause (SuperGLUE CB)",
        THREE_WAY,
        labels("entailment", "contradiction", "neutral", to=("True", "False", "Neither")),
    ),
    "promot-wic": Entry(
        "is a word meant alike in two sentences (SuperGLUE WiC)",
        PAPER,
        "general",
        ("word", "sentence1", "sentence2", "label"),
        TaskYaml(
            source="hf:aps/super_glue:wic",
            input=WIC,
            target="label",
            verbalizer=labels("False", "True"),
            metric="accuracy",
            splits=DEV,
        ),
    ),
    "promot-triviaqa": Entry(
        "trivia from memory (TriviaQA, closed book)",
        PAPER,
        "general",
        ("question", "answer"),
        TaskYaml(
            source="hf:mandarjoshi/trivia_qa:rc.nocontext",
            input=QUESTION,
            target="answer.value",
            answers="answer.aliases",
            metric="exact_match",
            stop=("\n", "Q:"),
            splits=DEV,
        ),
    ),
    "promot-webquestions": Entry(
        "web questions from memory (WebQuestions, closed book)",
        PAPER,
        "general",
        ("question", "answers"),
        TaskYaml(
            source="hf:stanfordnlp/web_questions",
            input=QUESTION,
            target="answers[0]",
            answers="answers",
            metric="exact_match",
            stop=("\n", "Q:"),
        ),
    ),
    "promot-en-de": _translation("general", 16, "de", "German", "de-en"),
    "promot-en-ro": _translation("general", 16, "ro", "Romanian", "ro-en"),
    "promot-xsum": _summary(
        "hf:EdinburghNLP/xsum", "one-sentence summaries of news (XSum)", "document", "summary",
        ("document", "summary"), "document and summary",
    ),
    "promot-wikilingua": _summary(
        "hf:esdurmus/wiki_lingua:english", "summaries of how-to articles (WikiLingua)",
        "article.document | join(' ')", "article.summary | join(' ')", ("article",), "article.summary",
    ),
}  # fmt: skip
EIGHT = tuple(name for name, entry in ENTRIES.items() if entry.role == "general")
