"""`ordertrail doctor`: examine an installation and say what to correct.

command.py runs the checks side by side; every other module checks one area and yields findings.
"""
