"""Keep the parcels of an order beyond the first 50 in a column of their own."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    for column in (
        sa.Column("further_parcels", JSONB(), server_default="[]", nullable=False),
        sa.Column("further_parcel_count", sa.Integer(), server_default="0", nullable=False),
    ):
        op.add_column("orders", column, if_not_exists=True)


def downgrade() -> None:
    # The version before keeps all parcels in one column.
    op.execute(
        "UPDATE orders SET parcels = parcels || further_parcels WHERE further_parcel_count > 0"
    )
    for name in ("further_parcel_count", "further_parcels"):
        op.drop_column("orders", name)
