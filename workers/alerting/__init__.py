"""Alerting: conditions that hold are pushed to people."""
