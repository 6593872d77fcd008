"""`ordertrail run`: the whole service on one machine, with its own PostgreSQL and Valkey.

supervisor.py starts, restarts and stops everything.
"""
