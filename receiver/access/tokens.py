"""Read the lists of tokens: API_TOKENS and READ_TOKENS."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

# The tokens of the API and of the metrics are at least so long.
TOKEN_CHARACTERS = 16
NAME_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token.

    name: what the audit log shows for it.
    value: what a client sends.
    may_write: whether it may do everything; otherwise it is a read token.
    """

    name: str
    value: str = field(repr=False)
    may_write: bool = True


def read_tokens(items: Iterable[str], kind: str) -> tuple[Token, ...]:
    """Read the items of a list, each `token` or `name:token`.

    kind: `api` or `read`; an item without a name is called after it and its place, as in api-2.
    """
    tokens = []
    for place, item in enumerate(items, 1):
        name, colon, value = item.partition(":")
        given = (name.strip(), value.strip()) if colon else (f"{kind}-{place}", item)
        tokens.append(Token(*given, may_write=kind == "api"))
    return tuple(tokens)


def find_faults(tokens: Iterable[Token]) -> Iterator[str]:
    """Say what is wrong with a list, by the places of its tokens: a value may be in use elsewhere.

    Yields a sentence for each kind of fault, without its subject's name.
    """
    tokens = list(tokens)
    bad_names = [place for place, token in enumerate(tokens, 1) if not _is_name(token.name)]
    if bad_names:
        yield (
            f"the name of {_places(bad_names)} must have 1 to {NAME_CHARACTERS} printable"
            " characters, before the first colon"
        )
    short = [place for place, token in enumerate(tokens, 1) if len(token.value) < TOKEN_CHARACTERS]
    if short:
        verb = "has" if len(short) == 1 else "have"
        yield (
            f"{_places(short)} {verb} fewer than {TOKEN_CHARACTERS} characters: create one with"
            " `openssl rand -hex 32`"
        )


def find_repetitions(tokens: Iterable[Token]) -> Iterator[str]:
    """Say which tokens of both lists have the same name or the same value."""
    tokens = list(tokens)
    names = Counter(token.name for token in tokens)
    if repeated := sorted(name for name, count in names.items() if count > 1):
        # As text with escapes: a name may be no name at all.
        yield f"two tokens have the name {', '.join(map(repr, repeated))}"
    by_value: dict[str, list[str]] = {}
    for token in tokens:
        by_value.setdefault(token.value, []).append(token.name)
    for same in by_value.values():
        if len(same) > 1:
            yield f"{' and '.join(map(repr, same))} are the same token: give each user its own"


def _is_name(name: str) -> bool:
    return 0 < len(name) <= NAME_CHARACTERS and name.isprintable()


def _places(places: list[int]) -> str:
    return f"token no. {', '.join(map(str, places))}"
