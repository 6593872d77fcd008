"""A day of a shop in two minutes: `make demo`.

day       the orders and how their webhooks are disturbed;  shop  the shop's requests to the API
service   a temporary Ordertrail;                           summary  the result, checked per order
"""
