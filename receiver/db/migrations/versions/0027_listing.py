"""Index what lists of orders and messages can be narrowed down by"""

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    """Nothing yet."""
