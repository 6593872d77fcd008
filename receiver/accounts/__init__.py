"""Accounts: how each one is doing, and which credentials were refused and why."""
