"""`ordertrail doctor`: each module checks one area; command.py runs the checks side by side."""
