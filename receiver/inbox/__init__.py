"""The inbox: every message that a courier sent, stored unchanged."""
