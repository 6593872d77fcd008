"""The push to the shop on real processes, while the shop fails and processes are killed.

`python -m tests.pushing` (make pushes) does so for a minute and prints what came of it;
tests/system/test_push.py does so for some seconds.
"""
