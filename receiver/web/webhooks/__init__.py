"""The webhook endpoint: what couriers call."""

from receiver.web.webhooks.endpoint import init_app, list_routes

__all__ = ["init_app", "list_routes"]
