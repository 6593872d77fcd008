"""Random and mutated requests; the short form of `make fuzz`."""

from collections.abc import Callable

from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.models import PENDING, QUARANTINED, Message
from tests.fuzz.campaign import send_all
from tests.fuzz.requests import requests
from tests.service import Web

REQUESTS = 1_500


def test_whatever_is_sent_it_is_no_fault_of_ours(
    web: Web, sessions: sessionmaker[Session], drain: Callable[[], int]
) -> None:
    campaign = send_all(web.port, requests(seed=1, count=REQUESTS))
    assert campaign.wrong == []
    # Or all of it was turned away at the door.
    assert campaign.said[200] > REQUESTS / 10
    assert {400, 401, 404, 405} <= campaign.said.keys()
    drain()
    with sessions() as session:
        of = dict(
            session.execute(select(Message.outcome, func.count()).group_by(Message.outcome)).all()
        )
    assert of[QUARANTINED] > 0
    assert PENDING not in of
