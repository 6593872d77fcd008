"""Redis: the client, the job queue, the doorbell that wakes the workers, and who is alive."""
