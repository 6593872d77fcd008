"""Upkeep: the sweep for forgotten work, retention and rebuild."""
