"""`ordertrail doctor`: what is wrong with an installation, and what mends it.

findings   what a check says;  command  runs the checks side by side and shows them
settings, postgresql, redis, processes, couriers, webhook   a check each
wire       one bounded request to a courier's API or to the webhook's address
"""
