"""The peers' gunicorn: the service's own settings, less what is about the service's insides."""

import runpy

globals().update(runpy.run_path("deploy/gunicorn.conf.py"))


def post_worker_init(_worker: object) -> None:
    """The service ends its waiting readers here; a peer has none."""
