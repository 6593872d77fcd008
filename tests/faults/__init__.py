"""Faults on real processes, while bodies are posted at a steady rate: nothing kept may be lost.

`python -m tests.faults` (make faults) goes through all of them for ten minutes and prints a table;
tests/system/test_faults.py goes through some of them once.
"""
