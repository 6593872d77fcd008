"""The commands of `ordertrail`, one noun a file; cli.py loads each when it is asked for.

They show what the API shows, by the functions and the schemas that its views use.
"""
