"""Where the console is."""

HOME = "/ops"
STATIC = f"{HOME}/static/"
SIGN_IN = f"{HOME}/signin"


def in_console(path: str) -> bool:
    """Whether a path is of the console."""
    return path == HOME or path.startswith(f"{HOME}/")
