"""A shop's machines, of which one at a time dies or is cut off while couriers post.

Each host is a network namespace on one bridge, with processes of its own: killing a host ends them
all at once, cutting it off lets every packet to and from it vanish. `make hosts` goes through all
faults, tests/system/test_hosts.py through a few. Linux, root.
"""
