"""The shapes that the API accepts and returns, one noun a file."""
