"""Count what couriers' performance is read from"""

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    """Nothing yet."""
