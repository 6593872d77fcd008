"""The web application of a test process: built once, since that takes longer than most tests."""

from dataclasses import replace

from flask import Flask

from receiver.accounts.discarded_webhooks import DiscardRecorder
from receiver.accounts.refused_credentials import CredentialRecorder
from receiver.alerts import AlertReader
from receiver.changes.feed_waiters import FeedWaiters
from receiver.inbox.storage_check import StorageCheck
from receiver.stats.answers import AnswerRecorder
from receiver.web.attempt_limit import API_ATTEMPTS, SIGN_IN_ATTEMPTS, AttemptLimit
from receiver.web.context import AppContext
from receiver.web.metrics_collector import MetricsCollector
from receiver.web.webhooks import list_routes


def context_of(app: Flask) -> AppContext:
    """The objects that the application's views share."""
    context: AppContext = app.extensions["ordertrail"]
    return context


def forget(app: Flask) -> None:
    """Give the application new objects for those that remember what an earlier test did."""
    old = context_of(app)
    routes = list_routes(old.settings.accounts)
    storage = old.inbox.storage
    fresh = vars(StorageCheck(storage._writer))
    vars(storage).update({name: fresh[name] for name in fresh.keys() - {"_lock", "_thread"}})
    reader = AlertReader(old.settings, old.sessions, old.redis, storage)
    app.extensions["ordertrail"] = replace(
        old,
        credential_recorder=CredentialRecorder(old.sessions, old.settings.accounts),
        discard_recorder=DiscardRecorder(old.sessions),
        feed_waiters=FeedWaiters(old.sessions, old.redis),
        answer_recorder=AnswerRecorder(old.redis, routes, storage.finds_disk_full),
        alert_reader=reader,
        metrics_collector=MetricsCollector(old.settings, old.sessions, old.redis, reader),
        attempt_limit=AttemptLimit(API_ATTEMPTS),
        sign_in_limit=AttemptLimit(SIGN_IN_ATTEMPTS),
    )


def end_threads(app: Flask) -> None:
    """End what the application does beside its requests; the next test empties the database."""
    context = context_of(app)
    context.credential_recorder.close()
    context.discard_recorder.close()
    context.answer_recorder.close()
    context.metrics_collector.close()
    context.feed_waiters.close()


def close(app: Flask) -> None:
    """End its threads, and close its connections."""
    end_threads(app)
    context_of(app).engine.dispose()
    context_of(app).redis.close()
