"""What test_contract.py has to know of a courier beside its driver: CASE of its own test file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Contents of bodies: objects, or lists where the courier sends arrays.
Bodies = Sequence[Any]

# Whom the addresses and the headers are built for.
USER, TOKEN = "Shop", "tkn-5f2c9a77"


@dataclass(frozen=True)
class Case:
    """One courier, as its documents have it.

    words        their words and our status for each
    bodies       per topic, what it might send: decoded as it is, but for noise, and spoilt in every
                 way; of an empty body the parameters of its URL
    answers      what its API might answer about one order
    essential    the paths of a webhook and of an answer that hold the order or its state, without
                 the numbers of entries: all else may be odd
    places       where an order stands under the API's address, with {} for its name, in the order
                 in which they are tried
    credentials  the headers that tell it who asks: USER, with TOKEN
    settings     the settings of an account that the driver declares
    tells_reference  whether its webhooks tell the shop's own number
    requests     per topic, what the context of its bodies has beside them: headers and query
    """

    words: Mapping[str, str]
    bodies: Mapping[str, Bodies]
    answers: Bodies = ()
    essential: frozenset[str] = frozenset()
    places: Sequence[str] = ()
    credentials: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    tells_reference: bool = True
    requests: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
