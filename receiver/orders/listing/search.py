"""Search orders of all accounts by a name, a reference or a tracking number, or how one begins."""

from dataclasses import dataclass, field
from typing import LiteralString

from sqlalchemy.orm import Session

from receiver.db.models import NAME, REFERENCE, TOUR, Order, spelling
from receiver.db.pagination import begin_consistent_read, distinct_values
from receiver.orders.find import MOST_SPELLED, find_meant
from receiver.orders.names import spell
from receiver.text import storable_name

# How many characters a beginning must have, and a name may have.
LEAST_CHARACTERS = 3
MOST_CHARACTERS = 255
# How many rows of the index of names are read in each account.
ROWS_READ = 1000

# The next names of each account, from the first that begins with the text on. `number` counts them.
BEGINNING: LiteralString = f"""
    SELECT order_id, value, number
    FROM unnest(%(accounts)s::text[], %(names)s::text[]) AS asked (account, name)
    CROSS JOIN LATERAL (
        SELECT order_id, value, {spelling("value")} AS spelled,
            row_number() OVER (ORDER BY {spelling("value")}) AS number
        FROM identifiers
        WHERE identifiers.account = asked.account AND kind <> '{TOUR}'
          AND {spelling("value")} >= {spelling("asked.name")}
        ORDER BY {spelling("value")} LIMIT %(most)s
    ) AS following WHERE starts_with(spelled, {spelling("asked.name")})
"""  # noqa: S608 (all of it stands here)


@dataclass(frozen=True, slots=True)
class Matches:
    """Which orders have a name that was searched for.

    ids: those with exactly this name first, then those with a name that begins with it; the newest
        first within both.
    exact: how many have exactly this name, whatever its spelling.
    is_complete: whether these are all; otherwise there are more.
    names: of an order that was found by the beginning of a name, such a name.
    """

    ids: list[int]
    exact: int
    is_complete: bool = True
    names: dict[int, str] = field(default_factory=dict)


def search_orders(session: Session, text: str) -> Matches:
    """Find the orders that have a name, or one that begins with it. Must begin the transaction.

    Capitals, dashes and surrounding blanks do not matter. The beginning needs LEAST_CHARACTERS.
    """
    name = storable_name(text)
    if not spell(name) or len(name) > MOST_CHARACTERS:
        return Matches([], 0)
    begin_consistent_read(session)
    accounts = distinct_values(session, Order.account)
    named = find_meant(session, [(account, name) for account in accounts], (NAME, REFERENCE))
    exact = {order_id for _, order_id in named}
    names: dict[int, str] = {}
    is_complete = len(exact) < MOST_SPELLED
    if len(spell(name)) >= LEAST_CHARACTERS:
        names_asked = {"accounts": accounts, "names": [name] * len(accounts), "most": ROWS_READ}
        rows = session.connection().exec_driver_sql(BEGINNING, names_asked)
        for order_id, value, number in rows:
            # Where the last row that was read begins so too, those after it may as well.
            is_complete = is_complete and number < ROWS_READ
            if order_id not in exact:
                names.setdefault(order_id, value)
    ids = [*sorted(exact, reverse=True), *sorted(names, reverse=True)]
    return Matches(ids, len(exact), is_complete, names)
