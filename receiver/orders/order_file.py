"""Read the orders to register from a file: CSV with a line of names, or NDJSON."""

import csv
import json
from collections.abc import Iterable, Iterator
from typing import Any

METADATA = "metadata."


def read_csv_orders(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Read orders from CSV: a column for each field, and one `metadata.<key>` for each key.

    A cell that is empty is not given. Unknown columns stay, for the schema to refuse.
    """
    for row in csv.DictReader(lines, restkey="further cells", strict=True):
        given = {name: value for name, value in row.items() if value}
        order: dict[str, Any] = {
            name: value for name, value in given.items() if not name.startswith(METADATA)
        }
        metadata = {
            name.removeprefix(METADATA): value
            for name, value in given.items()
            if name.startswith(METADATA)
        }
        yield order | ({"metadata": metadata} if metadata else {})


def read_ndjson_orders(lines: Iterable[str]) -> Iterator[Any]:
    """Read orders from NDJSON, without empty lines; a line that is no JSON is that line itself."""
    for line in lines:
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError:
                yield line
