"""Folding: messages from the inbox become events, orders and changes."""
