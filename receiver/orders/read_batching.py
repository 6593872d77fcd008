"""Quick reads: orders that are asked for at the same moment are read by one statement.

A session would go four ways to PostgreSQL and back for each of them, which is most of what getting
one order costs.
"""

from collections.abc import Sequence
from typing import Any, LiteralString

import psycopg
from sqlalchemy import Engine

from receiver.db.group_commit import AutocommitPool, Batcher
from receiver.errors import StorageUnavailable

READ_SECONDS = 5.0

# A statement about `asked.account` and `asked.name`, and what these are.
Question = tuple[LiteralString, str, str]


class QuickReads:
    """Reads about single orders, on one connection of the process."""

    def __init__(self, engine: Engine) -> None:
        self._pool = AutocommitPool(engine)
        self._batcher: Batcher[Question, list[Any]] = Batcher("read_orders", self._read)

    def rows(self, statement: LiteralString, account: str, name: str) -> list[Any]:
        """The rows of a statement about `asked.account` and `asked.name`, with their columns as
        attributes.

        Raises: StorageUnavailable.
        """
        try:
            return self._batcher.submit((statement, account, name), READ_SECONDS)
        except (psycopg.OperationalError, TimeoutError):
            raise StorageUnavailable("the database cannot be reached just now") from None

    def _read(self, questions: Sequence[Question]) -> list[list[Any]]:
        answers: list[list[Any]] = [[] for _ in questions]
        for statement in {question[0] for question in questions}:
            own = [place for place, question in enumerate(questions) if question[0] == statement]
            asked = {
                "place": own,
                "account": [questions[place][1] for place in own],
                "name": [questions[place][2] for place in own],
            }
            for row in self._pool.fetch_all(of_many(statement), asked, named=True):
                answers[row.place].append(row)
        return answers


def of_many(statement: LiteralString) -> LiteralString:
    """The same statement about many orders, with the place of each in what was asked.

    LATERAL, and each with a LIMIT, so that it is found by its own key, whatever PostgreSQL believes
    of the tables.
    """
    return f"""
        SELECT asked.place, found.*
        FROM unnest(%(place)s::integer[], %(account)s::text[], %(name)s::text[])
             AS asked (place, account, name)
        CROSS JOIN LATERAL ({statement}) AS found
    """  # noqa: S608 (of our own statements)
