"""Statistics: counters of a process, totals and their history in PostgreSQL."""
