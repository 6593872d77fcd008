"""The objects that the views of one web process share."""

from dataclasses import dataclass
from typing import cast

from flask import current_app
from redis import Redis
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from receiver.accounts.discarded_webhooks import DiscardRecorder
from receiver.accounts.refused_credentials import CredentialRecorder
from receiver.alerts import AlertReader
from receiver.changes.feed_waiters import FeedWaiters
from receiver.inbox.accept import Inbox
from receiver.orders.read_batching import OrderReader
from receiver.queue.doorbell import Bells, Doorbell
from receiver.settings import Settings
from receiver.stats.answers import AnswerRecorder
from receiver.stats.process_usage import UsageReporter
from receiver.web.attempt_limit import AttemptLimit
from receiver.web.metrics_collector import MetricsCollector


@dataclass(frozen=True)
class AppContext:
    """The settings, and what reads and writes PostgreSQL and Redis."""

    settings: Settings
    engine: Engine
    sessions: sessionmaker[Session]
    reader: OrderReader
    redis: Redis
    inbox: Inbox
    credential_recorder: CredentialRecorder
    discard_recorder: DiscardRecorder
    doorbell: Doorbell
    feed_bell: Doorbell
    feed_waiters: FeedWaiters
    answer_recorder: AnswerRecorder
    alert_reader: AlertReader
    metrics_collector: MetricsCollector
    usage_reporter: UsageReporter
    attempt_limit: AttemptLimit
    sign_in_limit: AttemptLimit

    @property
    def bells(self) -> Bells:
        """What an action rings after its commit."""
        return Bells(self.doorbell.ring, self.feed_bell.ring)


def app_context() -> AppContext:
    """Return the context of the application that serves the current request."""
    return cast("AppContext", current_app.extensions["ordertrail"])
