"""The `ordertrail` command: main.py has the list of commands and loads each one when it is used.

Commands show what the API shows, by the same functions and schemas as its views.
"""
