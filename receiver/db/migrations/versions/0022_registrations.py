"""Remember each registration of an order, and every tour of a plan that names an order

Of orders that are stored already, what the shop gave counts as one registration. A plan that named
an order in several tours gets all of them with `ordertrail rebuild`.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0022"
down_revision = "0021"

# The tours of a plan share a row, because the key may not grow: the running version needs it.
COLUMNS = {"orders": "registrations", "tour_stops": "further_tours"}


def upgrade() -> None:
    for table, name in COLUMNS.items():
        column = sa.Column(name, JSONB(), server_default="[]", nullable=False)
        op.add_column(table, column, if_not_exists=True)


def downgrade() -> None:
    for table, name in COLUMNS.items():
        op.drop_column(table, name)
