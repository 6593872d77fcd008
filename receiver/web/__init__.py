"""HTTP: the only package that knows Flask, werkzeug or gunicorn."""
