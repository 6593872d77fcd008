"""Notices remember who acknowledged an alert, when, and how severe it was

What was acknowledged before the upgrade names nobody, and stays so until its time is over.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0021"
down_revision = "0018"

COLUMNS: dict[str, Any] = {
    "acknowledged_at": TIMESTAMP(timezone=True),
    "acknowledged_by": sa.Text(),
    "acknowledged_severity": sa.Text(),
}


def upgrade() -> None:
    for name, kind in COLUMNS.items():
        op.add_column("notices", sa.Column(name, kind), if_not_exists=True)


def downgrade() -> None:
    for name in COLUMNS:
        op.drop_column("notices", name)
