"""Orders: how their messages become one state, and how they are found and read."""
