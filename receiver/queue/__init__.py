"""Redis: the client, the doorbell that wakes the workers, and the clock's ticks."""
