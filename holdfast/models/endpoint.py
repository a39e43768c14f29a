"""The MODEL argument `openai:URL#NAME`: a model behind a server that speaks the OpenAI protocol."""

from dataclasses import dataclass
from urllib.parse import urlsplit

SCHEME = "openai:"
CHAT = "/chat/completions"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model by the name that its server gives it.

    `url` is the address that the paths of the protocol stand behind, such as `http://127.0.0.1:8000/v1`. With `chat` a prompt is sent as
    the messages of a conversation, otherwise as the text to continue.
    """

    argument: str
    url: str
    name: str
    chat: bool = False

    @property
    def host(self) -> str:
        """Return the server's name without the port."""
        return urlsplit(self.url).hostname or ""

    @property
    def root(self) -> str:
        """Return the address without `/v1`, behind which some servers have paths that are not of the protocol."""
        return self.url.removesuffix("/v1")


def endpoint_of(argument: str) -> Endpoint | None:
    """Return the model behind a server that a MODEL argument names, or None where it names another.

    Raises:
        ValueError: it begins as one, and has no address, no name, or a password.
    """
    if not argument.startswith(SCHEME):
        return None
    url, _, name = argument.removeprefix(SCHEME).partition("#")
    url = url.rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not name:
        raise ValueError(
            f"{argument}: write {SCHEME}URL#NAME, such as {SCHEME}http://127.0.0.1:8000/v1#NAME, with the name that the server gives the "
            f"model; for a server that only chats, {SCHEME}URL{CHAT}#NAME"
        )
    # The argument is written into scores and logs, and a password must not be.
    if parts.username or parts.password or parts.query:
        raise ValueError(
            f"{SCHEME}...@{parts.hostname}: an address holds no password and no query here, because it is written into records; set the "
            "key in the environment variable HOLDFAST_API_KEY"
        )
    return Endpoint(argument, url.removesuffix(CHAT), name, url.endswith(CHAT))


def refuse_endpoint(argument: str) -> None:
    """Refuse a model behind a server where its weights are needed.

    Raises:
        ValueError: the argument names such a model.
    """
    if endpoint_of(argument) is not None:
        raise ValueError(
            f"{argument}: a model behind a server can be asked (`evaluate`, `evaluate --against`, `generate`), and its weights are not "
            "here; give a folder or a hub id"
        )
