"""gunicorn's settings for the web process: `gunicorn -c deploy/gunicorn.conf.py`."""

import atexit
import os
import resource
import shutil
import signal
import tempfile
from contextlib import suppress

# To be set before anything imports prometheus_client, which reads it once. Every worker writes its
# counters into this directory, and /metrics adds them up. It must be empty at the start, or old
# files are counted again. `ordertrail run` sets it, and empties it itself.
if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    _master = os.getpid()
    _metrics = tempfile.mkdtemp(prefix="ordertrail-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = _metrics

    @atexit.register
    def _remove_metrics():
        # A worker is a fork and runs this too, while other workers still write.
        if os.getpid() == _master:
            shutil.rmtree(_metrics, ignore_errors=True)


from receiver.log_writer import WRITER
from receiver.logs import gunicorn_logconfig

_host = os.environ.get("HOST") or "127.0.0.1"
_port = os.environ.get("PORT") or "8000"
bind = f"[{_host}]:{_port}" if ":" in _host else f"{_host}:{_port}"

worker_class = "receiver.web.gunicorn_worker.Worker"
workers = int(os.environ.get("WEB_CONCURRENCY") or os.cpu_count() or 1)
# Most of these may be readers that wait for changes (MOST_WAITING in
# receiver/changes/feed_waiters.py). Each needs a file descriptor, and the soft limit is often 1024.
worker_connections = 4000
# What a process keeps open itself: connections to PostgreSQL and Redis, metrics, modules.
_own_files = 100
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
_files = worker_connections + _own_files
if _soft != resource.RLIM_INFINITY and _soft < _files:
    _most = _files if _hard == resource.RLIM_INFINITY else min(_files, _hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_most, _hard))
    # Further connections wait until one closes: a request that was accepted must find a descriptor.
    worker_connections = min(worker_connections, max(_most - _own_files, _most // 2))

# A worker without a sign of life for this long is killed. gevent workers give one each second,
# whatever their requests do, so this concerns a worker that hangs and not a slow request.
timeout = 30
# A stop waits this long for the requests in progress, and a second or two for the rest; a
# supervisor must wait longer before it kills.
graceful_timeout = 8
# How long to wait for the next request on a connection, and for complete headers.
keepalive = 5

# By default gunicorn trusts these headers from loopback, where everybody comes from behind a proxy:
# a stranger's SCRIPT_NAME would be a 500. Nothing here needs them.
forwarder_headers = ""
secure_scheme_headers = {}

# The longest URL, in bytes: enough for an account and an id of 255 characters, percent-encoded at
# twelve bytes a character.
limit_request_line = 8190

# No access log: its URLs contain the couriers' tokens.
accesslog = None
logger_class = "receiver.web.gunicorn_worker.Logger"
logconfig_dict = gunicorn_logconfig()

# A socket to control gunicorn, unused here, and its thread.
control_socket_disable = True


def when_ready(server):
    """Write the master's log in the background, too: it must not hang where nobody reads it."""
    WRITER.start()


# On a reload gunicorn ends the old workers as soon as it has forked the new ones, and no request is
# answered while these load. Here each new worker ends those that it replaces once it has loaded.


def on_reload(server):
    """Keep the old workers, and assign each to a new worker that will end it."""
    old = list(server.WORKERS)
    server.replaced = {*getattr(server, "replaced", ()), *old}
    new = server.cfg.workers
    server.to_replace = [old[place::new] for place in range(new)]
    server.num_workers += len(old)


def pre_fork(server, worker):
    """Tell a new worker which old ones it replaces."""
    waiting = getattr(server, "to_replace", ())
    worker.replaces = waiting.pop() if waiting else []


def child_exit(server, worker):
    """Count a worker that ended after a reload; add its counters to those of the others."""
    replaced = getattr(server, "replaced", set())
    if worker.pid in replaced:
        replaced.remove(worker.pid)
        server.num_workers -= 1
    elif left := [pid for pid in worker.replaces if pid in replaced]:
        # It ended before it had loaded: the next new worker replaces them instead.
        server.to_replace.append(left)

    from receiver.stats.metric_files import merge_files_of  # noqa: PLC0415 - see above

    merge_files_of(worker.pid, os.environ["PROMETHEUS_MULTIPROC_DIR"])


def post_worker_init(worker):
    """End the workers that this one replaces, now that it has loaded; report what it needs."""
    for pid in worker.replaces:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    worker.wsgi.extensions["ordertrail"].usage_reporter.start()
    import gevent  # noqa: PLC0415 - not before gunicorn patches what it patches

    gevent.spawn(_end_waiting, worker, gevent.sleep)


def _end_waiting(worker, sleep):
    """Answer the readers that wait for changes when the worker is told to stop."""
    while worker.alive:
        sleep(0.2)
    worker.wsgi.extensions["ordertrail"].feed_waiters.close()
    # Writes the refusals of the last seconds; later ones are lost with the process.
    worker.wsgi.extensions["ordertrail"].credential_recorder.close()
