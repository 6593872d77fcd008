"""Store when we asked about an event, and how recent its reason is

Null in the events that are stored already: `ordertrail rebuild` fills them in.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    asked_at = sa.Column("asked_at", TIMESTAMP(timezone=True))
    op.add_column("events", asked_at, if_not_exists=True)
    op.add_column("events", sa.Column("reason_source", JSONB()), if_not_exists=True)


def downgrade() -> None:
    op.drop_column("events", "reason_source")
    op.drop_column("events", "asked_at")
