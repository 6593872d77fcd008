"""PostgreSQL: the engine, the tables, migrations, pages of lists and group commit."""
