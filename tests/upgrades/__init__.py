"""Databases of earlier releases, as those releases filled them and told of them.

<revision>.sql.gz is a dump of a database that held one of everything (tests/everything.py);
<revision>.json what that release answered about it. `python -m tests.upgrades.record <directory>`,
run in the tree of a release, makes both.
"""
