"""Read the alerts of the moment, also where PostgreSQL or Redis cannot be used."""

from dataclasses import replace
from datetime import datetime

from redis import Redis
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session, sessionmaker

from receiver.alerts.backlog import BacklogMeter
from receiver.alerts.context import AlertContext, SystemState, find_postgres_directory
from receiver.alerts.evaluation import Evaluation, evaluate_conditions
from receiver.inbox.storage_check import (
    DISK_FULL,
    OK,
    UNREACHABLE,
    StorageCheck,
    describe_error,
    name_fault,
)
from receiver.settings import Settings


class AlertReader:
    """Reads the alerts for one process. storage: says whether webhooks can be stored."""

    def __init__(
        self,
        settings: Settings,
        sessions: sessionmaker[Session],
        redis: Redis,
        storage: StorageCheck,
    ) -> None:
        self._settings, self._sessions, self._redis = settings, sessions, redis
        self._storage = storage
        self.meter = BacklogMeter()

    def read(self, now: datetime, settle: bool = False) -> Evaluation:
        """Evaluate all conditions; without PostgreSQL, those that do not need it.

        settle: wait until it is known whether PostgreSQL is slow; others call repeatedly.
        """
        database = self._storage.settle() if settle else self._storage.check()
        system = SystemState.read(self._settings, self._redis, now)
        if database == OK and system.webhooks_find_disk_full:
            database = DISK_FULL
        system = replace(system, database=database, database_detail=self._storage.detail)
        with self._sessions() as session:
            if database != UNREACHABLE:
                try:
                    system = system.with_disk(find_postgres_directory(session))
                    context = AlertContext(session, self._settings, now, system, self.meter)
                    return evaluate_conditions(context)
                except (DBAPIError, PoolTimeoutError) as error:
                    if database == OK:
                        fault, detail = name_fault(error), describe_error(error)
                        system = replace(system, database=fault, database_detail=detail)
            context = AlertContext(session, self._settings, now, system, self.meter)
            return evaluate_conditions(context, with_database=False)
