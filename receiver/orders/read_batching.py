"""Read orders for the API: requests that arrive at the same time share one statement.

A session needs four round trips to PostgreSQL for each order, which is most of what getting one
costs. The plain versions are find_order() and list_orders(), and the results are the same.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any, LiteralString

import psycopg
from sqlalchemy import Engine

from receiver.db.group_commit import AutocommitPool, Batcher
from receiver.db.pagination import HIGHEST_ID, MOST_LISTED, write_cursor
from receiver.errors import StorageUnavailable
from receiver.orders.find import FOUND, MOST_ORDERS, STEPS, refuse_other_than_one
from receiver.text import storable_name

READ_SECONDS = 5.0

# What order_etag() needs.
VERSION_COLUMNS: LiteralString = """
    orders.id, courier_order_id, version, last_heard_at, due_at, polled_at,
    coalesce(failures, 0) AS failures, unknown_since, stopped_at, stop_reason
"""
# What render_order() shows.
COLUMNS: LiteralString = f"""
    orders.account, courier, identifiers, reference, status, courier_status, status_at, reason,
    needs_attention, source, tracking_url, eta, label_url, pickup_at, promised,
    parcels, further_parcel_count, milestones, metadata AS shop_metadata, created_at, updated_at,
    tracking_stopped_at,
    {VERSION_COLUMNS}
"""
VERSION: LiteralString = f"""
    SELECT asked.account AS asked_account, asked.name AS asked_name, {VERSION_COLUMNS}
    FROM {FOUND} JOIN orders ON orders.id = order_id LEFT JOIN polls ON polls.order_id = orders.id
"""  # noqa: S608 (all of it stands here)
ORDER: LiteralString = f"""
    SELECT asked.account AS asked_account, asked.name AS asked_name, {COLUMNS}
    FROM {FOUND} JOIN orders ON orders.id = order_id LEFT JOIN polls ON polls.order_id = orders.id
"""  # noqa: S608
# The newest first, one more than a page may have. As a range of the index and in its whole order,
# for the reason that pagination.select_pages gives. LIMIT 1 keeps PostgreSQL from reading all polls
# where it does not know yet how few orders have the reference.
REFERENCED: LiteralString = f"""
    SELECT asked.account AS asked_account, asked.name AS asked_name, found.*
    FROM unnest(%(accounts)s::text[], %(names)s::text[]) AS asked (account, name)
    CROSS JOIN LATERAL (
        SELECT {COLUMNS} FROM orders LEFT JOIN LATERAL (
            SELECT * FROM polls WHERE polls.order_id = orders.id LIMIT 1
        ) AS polls ON true
        WHERE orders.account <> ALL (%(left_out)s::text[])
            AND reference >= asked.name AND (reference, orders.id) <= (asked.name, {HIGHEST_ID})
        ORDER BY reference DESC, orders.id DESC LIMIT {MOST_LISTED + 1}
    ) AS found
"""  # noqa: S608

# Of all accounts that have orders, by one read of an index for each of them. LIMIT 1 for the same
# reason: PostgreSQL expects thousands of orders here, and would read all of them.
NAMED: LiteralString = f"""
    WITH RECURSIVE stored (account) AS (
        SELECT min(account) FROM orders
        UNION ALL
        SELECT (SELECT min(account) FROM orders WHERE account > stored.account)
        FROM stored WHERE account IS NOT NULL
    )
    SELECT '' AS asked_account, asked.name AS asked_name, {COLUMNS}
    FROM (
        SELECT account, name FROM stored CROSS JOIN unnest(%(names)s::text[]) AS given (name)
        WHERE account <> ALL (%(left_out)s::text[])
    ) AS asked
    CROSS JOIN {STEPS}
    CROSS JOIN LATERAL (SELECT * FROM orders WHERE orders.id = order_id LIMIT 1) AS orders
    LEFT JOIN LATERAL (
        SELECT * FROM polls WHERE polls.order_id = orders.id LIMIT 1
    ) AS polls ON true
    ORDER BY orders.id DESC
"""  # noqa: S608

# A statement, and the account and name that it is about.
Read = tuple[LiteralString, str, str]


class OrderReader:
    """Reads orders in batches, on one thread of the process.

    All methods raise StorageUnavailable where PostgreSQL does not answer.
    """

    def __init__(self, engine: Engine, test_accounts: Collection[str]) -> None:
        self._test_accounts = sorted(test_accounts)
        self._pool = AutocommitPool(engine)
        self._batcher: Batcher[Read, list[Any]] = Batcher("read_orders", self._read_batch)

    def read_order(self, account: str, name: str) -> Any:
        """Read the row of the one order that has this name, with its polling.

        Raises: UnknownOrder; AmbiguousIdentifier.
        """
        return self._read_one(ORDER, account, name)

    def read_version(self, account: str, name: str) -> Any:
        """Read what order_etag() needs of the one order that has this name.

        Raises: UnknownOrder; AmbiguousIdentifier.
        """
        return self._read_one(VERSION, account, name)

    def list_by_reference(self, reference: str, limit: int) -> dict[str, Any]:
        """Return the first page of an exact reference's orders, as list_orders() does.

        Those of test accounts are left out.
        """
        return _first_page(self._read(REFERENCED, "", reference), limit)

    def list_by_name(self, name: str, limit: int) -> dict[str, Any]:
        """Return the first page of the orders with a name, in whichever account, likewise."""
        return _first_page(self._read(NAMED, "", name), limit)

    def _read_one(self, statement: LiteralString, account: str, name: str) -> Any:
        rows = self._read(statement, storable_name(account), storable_name(name))
        refuse_other_than_one(rows, account, name)
        return rows[0]

    def _read(self, statement: LiteralString, account: str, name: str) -> list[Any]:
        try:
            return self._batcher.submit((statement, account, name), READ_SECONDS)
        except (psycopg.OperationalError, TimeoutError):
            raise StorageUnavailable(
                "PostgreSQL cannot be reached: retry in a few seconds"
            ) from None

    def _read_batch(self, reads: Sequence[Read]) -> list[list[Any]]:
        found: dict[Read, list[Any]] = defaultdict(list)
        for statement in {read[0] for read in reads}:
            pairs = {read[1:] for read in reads if read[0] == statement}
            accounts, names = map(list, zip(*pairs, strict=True))
            most = MOST_LISTED if statement == NAMED else MOST_ORDERS
            values = {"accounts": accounts, "names": names, "most": most + 1}
            values |= {"left_out": self._test_accounts}
            for row in self._pool.fetch_all(statement, values):
                found[statement, row.asked_account, row.asked_name].append(row)
        return [found[read] for read in reads]


def _first_page(rows: Sequence[Any], limit: int) -> dict[str, Any]:
    return {
        "orders": rows[:limit],
        "next_cursor": write_cursor(rows[limit - 1].id) if len(rows) > limit else None,
    }
