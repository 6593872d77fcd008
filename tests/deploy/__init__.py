"""What deploy/ holds: each kind of file is read by its own tool, and compared with the code."""
