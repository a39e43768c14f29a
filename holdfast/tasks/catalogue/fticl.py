"""The tasks of FTICL (arXiv 2403.09162, Tables 1 and 5): five to tune on and their neighbours, each with two prompts.

`-p2` names the second prompt; training always uses the first. The answer follows the prompt with nothing between, shots
are separated by an empty line, and an answer ends there. The paper measures on 250 items of its own files, drawn from
these data sets; here the whole public splits stand, which `--limit` cuts.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

from holdfast.tasks.catalogue.entry import Entry, labels
from holdfast.tasks.formats.settings import TaskYaml

PAPER = "arXiv 2403.09162"
DEV = {"train": "train", "test": "validation"}
PROMPTS = {
    "summary": (
        "### Input:\n{{ @1 }}\n### Summary:",
        "Please read the following text:{{ @1 }}\nProvide a summary:",
    ),
    "question": (
        "### Input:\n{{ @1 }}\n### Answer:\n{{ @2 }}\n### Question:",
        "Given the context:{{ @1 }}\nAnd the answer:{{ @2 }}\nGenerate a suitable question:",
    ),
    "sentiment": (
        "### Input:\n{{ @1 }}\n### Sentiment:",
        "Analyze the sentiment of the following text:{{ @1 }}\nSentiment:",
    ),
    "inference": (
        "### Input_1:\n{{ @1 }}\n### Input_2:\n{{ @2 }}\n### Inference:",
        "Consider the following texts: Text 1:{{ @1 }}\nText 2:{{ @2 }}\nThe relation is ",
    ),
    "paraphrase": (
        "### Input_1:\n{{ @1 }}\n### Input_2:\n{{ @2 }}\n### Paraphrase Classification:",
        "Let's compare the two sentences: Sentence_1:{{ @1 }}\nSentence_2:{{ @2 }}\nAre they paraphrasing?:",
    ),
}
SENTIMENT = labels("negative", "positive")
THREE = labels("entailment", "neutral", "contradiction")
SAME = labels("no", "yes")


def _entries(
    name: str, family: str, role: str, what: str, columns: str, read: tuple[str, ...], settings: TaskYaml
) -> Iterator[tuple[str, Entry]]:
    """Yield an entry for each prompt; `read` are the expressions that fill its places."""
    metric = "accuracy" if settings.verbalizer else "rougeL"
    settings = replace(settings, delimiter="", separator="\n\n", stop=("\n\n",), metric=metric)
    for prompt, suffix in zip(PROMPTS[family], ("", "-p2"), strict=True):
        for i, expression in enumerate(read, 1):
            # `@1` and not a Jinja name, because the columns of each data set have names of their own.
            prompt = prompt.replace(f"@{i}", expression)
        full = replace(settings, input=prompt)
        yield f"fticl-{name}{suffix}", Entry(f"{family}: {what}", PAPER, role, tuple(columns.split()), full)


_TUNED, _NEAR = "target", "general"
_SIQA_ANSWER = "[answerA, answerB, answerC][label | int - 1]"
_ROWS = (
    ("xsum", "summary", _TUNED, "news (XSum)", "document summary", ("document",),
     TaskYaml(source="hf:EdinburghNLP/xsum", target="summary", keep="document and summary")),
    ("xlsum", "summary", _NEAR, "BBC news (XL-Sum, English)", "text summary", ("text",),
     TaskYaml(source="hf:csebuetnlp/xlsum:english", target="summary")),
    ("peerread", "summary", _NEAR, "titles of papers (PeerRead)", "metadata", ("metadata.abstractText",),
     TaskYaml(target="metadata.title", keep="metadata.title and metadata.abstractText")),
    ("cnndm", "summary", _NEAR, "news (CNN/DailyMail)", "article highlights", ("article",),
     TaskYaml(source="hf:abisee/cnn_dailymail:3.0.0", target="highlights")),
    ("socialiqa", "question", _TUNED, "everyday situations (SocialIQA)",
     "context question answerA answerB answerC label", ("context", _SIQA_ANSWER),
     TaskYaml(source="hf:lighteval/siqa", target="question", splits=DEV)),
    ("tweetqa", "question", _NEAR, "tweets (TweetQA)", "Tweet Question Answer", ("Tweet", "Answer[0]"),
     TaskYaml(source="hf:ucsbnlp/tweet_qa", target="Question", keep="Answer", splits=DEV)),
    ("sciq", "question", _NEAR, "science exams (SciQ)", "support question correct_answer", ("support", "correct_answer"),
     TaskYaml(source="hf:allenai/sciq", target="question", keep="support")),
    ("amazon", "sentiment", _TUNED, "product reviews (Amazon)", "content label", ("content",),
     TaskYaml(source="hf:fancyzhx/amazon_polarity", target="label", verbalizer=SENTIMENT, limit=6000)),
    ("amazonfood", "sentiment", _NEAR, "reviews of food (Amazon)", "Text Score", ("Text",),
     TaskYaml(target="(Score | float) > 3.5", verbalizer={"False": "negative", "True": "positive"})),
    ("sst2", "sentiment", _NEAR, "sentences of film reviews (SST-2)", "sentence label", ("sentence",),
     TaskYaml(source="hf:stanfordnlp/sst2", target="label", verbalizer=SENTIMENT, splits=DEV, keep="label != -1")),
    ("yelp", "sentiment", _NEAR, "reviews of places (Yelp), more than 3.5 of five stars are positive", "text label",
     ("text",), TaskYaml(source="hf:Yelp/yelp_review_full", target="label", limit=6000, verbalizer=labels(
         "1 star", "2 star", "3 stars", "4 stars", "5 stars",
         to=("negative", "negative", "negative", "positive", "positive")))),
    ("paws", "paraphrase", _TUNED, "sentences with swapped words (PAWS)", "sentence1 sentence2 label",
     ("sentence1", "sentence2"),
     TaskYaml(source="hf:google-research-datasets/paws:labeled_final", target="label", verbalizer=SAME)),
    ("qqp", "paraphrase", _NEAR, "questions on Quora (QQP)", "question1 question2 label", ("question1", "question2"),
     TaskYaml(source="hf:nyu-mll/glue:qqp", target="label", splits=DEV, keep="label != -1", verbalizer=labels(
         "not_duplicate", "duplicate", to=("no", "yes")))),
    ("stsb", "paraphrase", _NEAR, "sentences scored 0 to 5 (STS-B), more than 3.5 is yes", "sentence1 sentence2 label",
     ("sentence1", "sentence2"), TaskYaml(source="hf:nyu-mll/glue:stsb", target="label > 3.5", splits=DEV,
         verbalizer={"False": "no", "True": "yes"})),
    ("mnli", "inference", _TUNED, "matched genres (MNLI)", "premise hypothesis label", ("premise", "hypothesis"),
     TaskYaml(source="hf:nyu-mll/glue:mnli", target="label", verbalizer=THREE, keep="label != -1",
         splits={"train": "train", "test": "validation_matched"})),
    ("mnli-mm", "inference", _NEAR, "mismatched genres (MNLI)", "premise hypothesis label", ("premise", "hypothesis"),
     TaskYaml(source="hf:nyu-mll/glue:mnli", target="label", verbalizer=THREE, keep="label != -1",
         splits={"train": "train", "test": "validation_mismatched"})),
    ("rte", "inference", _NEAR, "news (RTE)", "sentence1 sentence2 label", ("sentence1", "sentence2"),
     TaskYaml(source="hf:nyu-mll/glue:rte", target="label", splits=DEV, keep="label != -1", verbalizer=labels(
         "entailment", "not_entailment", to=("entailment", "neutral")))),
    ("gptnli", "inference", _NEAR, "pairs written by GPT-3", "text_a text_b label", ("text_a", "text_b"),
     TaskYaml(source="hf:pietrolesci/gpt3_nli", target="label", verbalizer=THREE)),
)  # fmt: skip
ENTRIES: dict[str, Entry] = dict(chain.from_iterable(_entries(*row) for row in _ROWS))
FIVE = tuple(name for name, entry in ENTRIES.items() if entry.role == _TUNED and not name.endswith("-p2"))
