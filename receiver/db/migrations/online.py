"""Steps of a migration that do not stop a service which uses the table meanwhile."""

from collections.abc import Sequence
from typing import Any

from alembic import op


def create_index(name: str, table: str, columns: Sequence[Any], **options: Any) -> None:
    """Build an index concurrently, so that others may write to the table meanwhile.

    It runs outside of a transaction, so the steps before it are committed by then. An interrupted
    migration starts again from its beginning: those steps must tolerate a second run.
    """
    with op.get_context().autocommit_block():
        # An interrupted build leaves an invalid index, which is never used and costs every write.
        op.drop_index(name, table_name=table, if_exists=True, postgresql_concurrently=True)
        op.create_index(name, table, columns, postgresql_concurrently=True, **options)
