"""A day of a shop in two minutes: `make demo`.

day       the orders and what befalls them;  shop  the shop's side of the service
service   an Ordertrail of the demo's own;   summary  what happened, and whether all came out right
"""
