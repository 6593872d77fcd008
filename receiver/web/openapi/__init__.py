"""The OpenAPI description of /v1, and the page that shows it."""
