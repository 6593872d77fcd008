"""Ordertrail: keeps what couriers tell about orders, and answers where each order stands."""
