"""`ordertrail run`: the whole service on one machine, with a PostgreSQL and a Valkey of its own.

supervisor  starts everything in order, tends it and stops it;  upkeep  one part's life
launch      what is given and what must be made;  datadir  who holds DATA_DIR, and its secrets
embedded    the two servers;  leash  children that cannot outlive us;  banner  what it prints
"""
