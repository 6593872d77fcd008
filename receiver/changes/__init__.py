"""The change feed, and the requests that wait for it."""
