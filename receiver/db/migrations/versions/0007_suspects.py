"""How often a process may have died of reading a message

Both columns stay as they are where no process dies: no index holds them but for those suspected.
"""

import sqlalchemy as sa
from alembic import op

from receiver.db.migrations.online import create_index

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column(
        "messages",
        sa.Column("tries", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        if_not_exists=True,
    )
    op.add_column("messages", sa.Column("tried_by", sa.Text(), nullable=True), if_not_exists=True)
    create_index(
        "messages_suspected_idx",
        "messages",
        ["id"],
        postgresql_where=sa.text("outcome = 'pending' AND tries > 0"),
    )


def downgrade() -> None:
    op.drop_index("messages_suspected_idx", table_name="messages")
    op.drop_column("messages", "tried_by")
    op.drop_column("messages", "tries")
