"""Upkeep: the sweep for overdue messages, retention and rebuild."""
