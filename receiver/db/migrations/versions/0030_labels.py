"""Labels that come inside a courier's message, and the orders of a message about several

Erasing an order finds those messages by the index; they name their orders from now on.

The previous release, beside this one, deletes an order without knowing of its label: the foreign
key takes the label with it.
"""

import sqlalchemy as sa
from alembic import op

from receiver.db.migrations.online import create_index

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    create_index(
        "messages_shared_idx",
        "messages",
        ["names"],
        postgresql_using="gin",
        postgresql_where=sa.text("outcome = 'applied' AND names IS NOT NULL"),
    )
    op.create_table(
        "labels",
        sa.Column("order_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("order_id", name=op.f("labels_pkey")),
        sa.ForeignKeyConstraint(
            ["order_id"], ["orders.id"], ondelete="CASCADE", name=op.f("labels_order_id_fkey")
        ),
    )


def downgrade() -> None:
    # The release before does not serve labels. After another upgrade, `ordertrail rebuild` reads
    # them from the messages again.
    op.execute("""
        UPDATE orders SET details = details #- '{details,label_sha256}',
            label_url = CASE WHEN label_url NOT LIKE '/v1/%' THEN label_url END
        FROM labels WHERE labels.order_id = orders.id
    """)
    op.drop_table("labels")
    op.drop_index("messages_shared_idx", table_name="messages")
