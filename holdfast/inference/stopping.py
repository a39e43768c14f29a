"""Ends of generated texts: at an end-of-sequence token, or just before the first stop string.

A model that was pretrained to fill gaps (T5, mT5) may write its answer between two sentinel tokens, as it wrote what
belongs into a first gap. Then the answer is what stands between them (ProMoT's post-processing, arXiv 2211.00635).
"""

from collections.abc import Iterable, Sequence
from typing import Any


class Stops:
    """The ends of a text, and what is looked at to find them.

    Stop strings are looked for in decoded text, so that one which begins or ends inside a token is found. Only the last
    few tokens are decoded at each step, and only when the newest one could hold the last character of a stop string.

    `sentinels` are the tokens before and behind an answer, where a model may write them: a text begins behind the first
    of them, if it is there, and ends before the other.

    Raises:
        ValueError: a stop string is empty.
    """

    def __init__(
        self,
        tokenizer: Any,
        strings: Sequence[str] = (),
        eos: Iterable[int] = (),
        sentinels: tuple[int, int] | None = None,
    ) -> None:
        if "" in strings:
            raise ValueError("a stop string is empty, so every text would end at once; leave it out")
        self.tokenizer = tokenizer
        special: set[str] = set()
        if strings:
            special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
            special |= set(tokenizer.all_special_tokens)
        # Special tokens are left out of a text, so that stop strings which name one are looked for in a text that shows them.
        self.strings = tuple(string for string in strings if not any(token in string for token in special))
        self.marked = tuple(string for string in strings if string not in self.strings)
        self.eos = frozenset(eos)
        self.sentinels = sentinels
        # A token adds one byte at least. The few more are for a character that the cut splits, and for the space that a decoder drops
        # from the first token.
        self._reach = max((len(string.encode()) for string in strings), default=0) + 4
        self._last = {string[-1] for string in strings}
        self._suspects: dict[int, bool] = {}

    def reached(self, tokens: Sequence[int]) -> bool:
        """Return True where these new tokens hold a stop string or close, if they did not before the last of them."""
        # A closing sentinel ends an answer as an end token would; what a model writes after it fills another gap.
        if self.sentinels and tokens and tokens[-1] == self.sentinels[1]:
            return True
        if not (self.strings or self.marked) or not tokens or not self._suspect(tokens[-1]):
            return False
        # The last few tokens first, which is cheap; then all, because a cut text may decode otherwise at its beginning.
        return self._holds(tokens[-self._reach :]) and self._holds(tokens)

    def until_end(self, tokens: Sequence[int]) -> list[int]:
        """Return the first new tokens, up to the end of the text, without the end-of-sequence token and what fills up behind it."""
        new: list[int] = []
        for token in tokens:
            if token in self.eos:
                break
            new.append(token)
            if self.reached(new):
                break
        return new

    def text(self, tokens: Sequence[int]) -> str:
        """Return the decoded tokens up to the first stop string; special tokens are left out."""
        tokens = self._between(tokens)
        text, rest = self.decode(tokens), ""
        shown = self._shown(tokens) if self.marked else ""
        if (begin := _find(self.marked, shown)) >= 0:
            # Up to the token in which the stop string begins, and what that token has before it.
            whole = next(n for n in range(len(tokens), -1, -1) if len(self._shown(tokens[:n])) <= begin)
            text, rest = self.decode(tokens[:whole]), shown[len(self._shown(tokens[:whole])) : begin]
        begin = _find(self.strings, text + rest)
        return text + rest if begin < 0 else (text + rest)[:begin]

    def _between(self, tokens: Sequence[int]) -> Sequence[int]:
        if self.sentinels is None:
            return tokens
        opening, closing = self.sentinels
        begin = tokens.index(opening) + 1 if opening in tokens else 0
        end = next((i for i in range(begin, len(tokens)) if tokens[i] == closing), len(tokens))
        return [token for token in tokens[begin:end] if token != opening]

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of new tokens, exactly: no clean-up of spaces."""
        return self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def _shown(self, tokens: Sequence[int]) -> str:
        """Return the text with special tokens shown."""
        return self.tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def _holds(self, tokens: Sequence[int]) -> bool:
        """Return True where a stop string is in the text of these tokens."""
        if self.strings and _find(self.strings, self.decode(tokens)) >= 0:
            return True
        return bool(self.marked) and _find(self.marked, self._shown(tokens)) >= 0

    def _suspect(self, token: int) -> bool:
        """Return True where the token's own text may hold the last character of a stop string."""
        if token not in self._suspects:
            text = self._shown([token]) if self.marked else self.decode([token])
            # Part of a character decodes to U+FFFD, and a decoder may drop a space: then nothing can be ruled out.
            unsure = "\ufffd" in text or " " in self._last
            self._suspects[token] = unsure or not self._last.isdisjoint(text)
        return self._suspects[token]


def _find(strings: Sequence[str], text: str) -> int:
    """Return the index at which the first of the strings begins, or -1."""
    return min((begin for begin in map(text.find, strings) if begin >= 0), default=-1)
