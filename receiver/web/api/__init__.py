"""The API under /v1, one noun a file."""
