"""Databases that earlier releases filled, and what those releases answered about them.

`python -m tests.upgrades.record tests/upgrades`, run in the tree of a release, adds two files:
<revision>.sql.gz, the dump of a database that holds one of everything (tests/everything.py), and
<revision>.json, the API's answers. tests/system/test_upgrades.py upgrades the newest one. None is
recorded before the first release.
"""
