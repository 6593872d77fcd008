"""Random and mutated requests, sent as bytes to a real gunicorn: whatever comes, it is no fault of
ours, and nothing of it is kept in memory.

`python -m tests.fuzz` (make fuzz) sends 50,000; tests/system/test_fuzz.py some of them.
"""
