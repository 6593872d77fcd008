"""Let an order's tracking be stopped, and mark sample and test orders"""

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    """Nothing yet."""
