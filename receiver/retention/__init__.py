"""Retention: what is past its term, and how far its removal is behind.

The removal itself is in workers/upkeep/retention.py.
"""
