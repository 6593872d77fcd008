"""Alerting: evaluate the conditions, remember what opened and closed, and push it to people."""

from workers.alerting.watch import AlertWatch

__all__ = ["AlertWatch"]
