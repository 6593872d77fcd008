"""By which names a parked message tells of its order: registering it by any of them releases it.

A message that was parked before is still found by the courier's own id alone.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

from receiver.db.migrations.online import create_index

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("messages", sa.Column("names", ARRAY(sa.Text)), if_not_exists=True)
    create_index(
        "messages_parked_names_idx",
        "messages",
        ["names"],
        postgresql_using="gin",
        postgresql_where=sa.text("outcome = 'parked'"),
    )


def downgrade() -> None:
    op.drop_index("messages_parked_names_idx", table_name="messages")
    op.drop_column("messages", "names")
