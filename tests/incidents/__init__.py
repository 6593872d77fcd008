"""Incidents on real processes: which alert says so, when, whether it names the cause, what is lost.

`python -m tests.incidents` (make incidents) plays them, some at the same time, each on servers of
its own, and prints a table. `--list` names them; names as arguments play those only.
"""
