"""Polling: orders whose courier stays silent are asked about."""
