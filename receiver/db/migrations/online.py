"""What a migration does beside a service that runs: with these nobody waits for long."""

from collections.abc import Sequence
from typing import Any

from alembic import op


def create_index(name: str, table: str, columns: Sequence[Any], **how: Any) -> None:
    """Build an index on a table that is in use; writers go on meanwhile.

    Outside of a transaction, so what the migration did before it is committed by then. One that was
    broken off is begun anew: whatever stands before this in a migration must bear a second time.
    """
    with op.get_context().autocommit_block():
        # What a broken off one leaves behind is never used and always kept up to date.
        op.drop_index(name, table_name=table, if_exists=True, postgresql_concurrently=True)
        op.create_index(name, table, columns, postgresql_concurrently=True, **how)
