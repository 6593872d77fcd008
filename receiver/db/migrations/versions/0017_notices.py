"""Notices remember what was pushed of them, and that they were acknowledged

An alert that is open during the upgrade counts as not pushed, and may be pushed once more.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP

revision = "0017"
down_revision = "0016"

COLUMNS: dict[str, Any] = {
    "held_since": TIMESTAMP(timezone=True),
    "pushed_at": TIMESTAMP(timezone=True),
    "pushed_severity": sa.Text(),
    "pushed_count": sa.BigInteger(),
    "pushed_causes": ARRAY(sa.Text()),
    "acknowledged_until": TIMESTAMP(timezone=True),
    "acknowledged_note": sa.Text(),
}


def upgrade() -> None:
    for name, kind in COLUMNS.items():
        op.add_column("notices", sa.Column(name, kind), if_not_exists=True)
    pushes = sa.Column("pushes", sa.Integer(), server_default=sa.text("0"), nullable=False)
    op.add_column("notices", pushes, if_not_exists=True)


def downgrade() -> None:
    for name in ("pushes", *COLUMNS):
        op.drop_column("notices", name)
