"""Incidents of webhooks and of what is in them."""

import re
import shutil
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from tests.bodies import life, raw, shipmentapi_order, tiramizoo_order
from tests.incidents.incident import Incident, Outcome, Undo, nothing
from tests.incidents.stage import Stage, sleep_until
from tests.incidents.watch import Watch
from tests.service import ROOT

TIRAMIZOO = "/webhooks/tiramizoo/orders"
SHIPMENTAPI = "/webhooks/shipmentapi/orders/shipmentapi-token"
# A push that something got worse comes at the earliest so long after the one before.
WORSE_WITHIN = 400.0

# Four weeks in which an account sent so many webhooks every five minutes.
PAST = """
    INSERT INTO tallies (account, at, hooks)
    SELECT %s, at, %s FROM generate_series(
        date_bin('5 minutes', now(), 'epoch') - interval '29 days',
        date_bin('5 minutes', now(), 'epoch') - interval '20 minutes', '5 minutes') AS at
    ON CONFLICT DO NOTHING
"""
# The last webhook came a little less than a quarter of an hour ago.
SILENT = """
    WITH moved AS (UPDATE messages SET received_at = received_at - interval '14 minutes 30 seconds'
                   WHERE account = 'tiramizoo')
    UPDATE accounts SET last_hook_at = last_hook_at - interval '14 minutes 30 seconds'
    WHERE account = 'tiramizoo'
"""
# A copy of the code has this at the end of a driver.
RAISING = '''

def _raise(body, *arguments):
    """Fail like a driver that trusts a field to be there."""
    if "raise" in str(body):
        return {}["missing"]
    return decode_mapped_order(body, *arguments)


import dataclasses

driver = dataclasses.replace(driver, topics={"orders": Topic(_raise)})
'''


def repeatedly(call: Callable[[int], object], every: float = 1.0) -> Undo:
    """Call with 0, 1, 2... until it is undone."""
    stopping = threading.Event()

    def run() -> None:
        number = 0
        while not stopping.wait(every):
            call(number)
            number += 1

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def undo() -> None:
        stopping.set()
        thread.join()

    return undo


def order(name: str) -> bytes:
    return raw(tiramizoo_order(name, life("created", start=datetime.now(UTC))))


def refused(stage: Stage, number: int, path: str = TIRAMIZOO) -> None:
    answer = stage.post(f"{path}/a-secret-of-another-shop", order(f"refused {number}"))
    assert answer.status_code == 401, answer


def accepted(stage: Stage, name: str) -> None:
    answer = stage.post(f"{TIRAMIZOO}/tiramizoo-token", order(name))
    assert answer.status_code == 200, answer


def rotate_secret(stage: Stage) -> Undo:
    """The courier signs with a secret that is not ours."""
    return repeatedly(lambda number: refused(stage, number))


def refuse_after_one(stage: Stage) -> Undo:
    """One refused, one right, and then forty refused in a row."""
    refused(stage, -1)
    accepted(stage, "right")
    for number in range(40):
        refused(stage, number)
    return nothing


def strangers(stage: Stage) -> Undo:
    for number in range(3):
        refused(stage, number)
    return nothing


def refuse_quiet_courier(stage: Stage) -> Undo:
    """Four refused, of a courier that calls seldom; and then a quarter of an hour passes."""
    for number in range(4):
        refused(stage, number, "/webhooks/shipmentapi/orders")
    sleep_until(lambda: bool(stage.sql("SELECT FROM refusals WHERE account = 'shipmentapi'")), 20)
    time.sleep(3)
    stage.sql(
        "UPDATE refusals SET first_at = first_at - interval '20 minutes',"
        " last_at = last_at - interval '20 minutes' WHERE account = 'shipmentapi'"
    )
    return nothing


def open_orders(stage: Stage) -> None:
    stage.sql(PAST, ["tiramizoo", 10])
    for number in range(261):
        accepted(stage, f"open {number}")
    pending = "SELECT FROM messages WHERE outcome = 'pending' AND account = 'tiramizoo'"
    sleep_until(lambda: not stage.sql(pending), 30)


def fall_silent(stage: Stage) -> Undo:
    stage.sql(SILENT)
    return lambda: accepted(stage, "again")


def learn_past(stage: Stage) -> None:
    stage.sql(PAST, ["tiramizoo", 20])


def flood(stage: Stage) -> Undo:
    for number in range(1_200):
        accepted(stage, f"flood {number}")
    return nothing


def use_word(stage: Stage, word: str, count: int = 1) -> None:
    for number in range(count):
        body = raw(shipmentapi_order(f"{word} {number}", word))
        assert stage.post(SHIPMENTAPI, body).status_code == 200


def unknown_word(stage: Stage) -> Undo:
    use_word(stage, "beamed")
    return nothing


def second_word(stage: Stage, watch: Watch, outcome: Outcome) -> None:
    """A second word is pushed, too; once both are mapped, a rebuild mends the orders."""
    began = time.monotonic()
    use_word(stage, "teleported", 3)
    key = "word_unmapped/shipmentapi"
    came = sleep_until(
        lambda: any("teleported" in it.text for it in watch.pushes(key, began)), WORSE_WITHIN
    )
    outcome.claim(came, "a second word is not pushed")
    seconds = time.monotonic() - began
    outcome.measured.append(f"the second word pushed after {seconds:.0f} s")
    mapped = '{"statuses": {"beamed": "in_transit", "teleported": "in_transit"}}'
    stage.environ["COURIER_SHIPMENTAPI_FIELDS"] = mapped
    stage.restart("web", "worker", "clock")
    sleep_until(lambda: (stage.ready() or {}).get("workers") == 1, 60)
    began = time.monotonic()
    code, printed = stage.command("rebuild", "--account", "shipmentapi")
    # 1: it changed something.
    outcome.claim(code == 1, f"rebuild ends with {code}: {printed[-300:]}")
    rows = stage.sql("SELECT DISTINCT status FROM orders WHERE account = 'shipmentapi'")
    outcome.claim(rows == [("in_transit",)], f"after the rebuild the orders are {rows}")
    outcome.measured.append(f"rebuilt in {time.monotonic() - began:.1f} s")


def poison(stage: Stage) -> Undo:
    for number in range(3):
        answer = stage.post(f"{TIRAMIZOO}/tiramizoo-token", raw({"state": "created", "n": number}))
        assert answer.status_code == 200
    return nothing


def second_reason(stage: Stage, watch: Watch, outcome: Outcome) -> None:
    """Many more, for another reason, are pushed; they can be discarded all at once."""
    began = time.monotonic()
    for number in range(100):
        body = raw({"uuid": f"poison {number}", "state": {"a": number}})
        assert stage.post(f"{TIRAMIZOO}/tiramizoo-token", body).status_code == 200
    key = "messages_quarantined/tiramizoo"
    came = sleep_until(lambda: bool(watch.pushes(key, began)), WORSE_WITHIN)
    outcome.claim(came, "a hundred more of another reason are not pushed")
    outcome.measured.append(f"100 more pushed after {time.monotonic() - began:.0f} s")


def raise_in_driver(stage: Stage) -> Undo:
    """The driver fails at one message, as after a careless release."""
    code = stage.logs / "code"
    for name in ("receiver", "workers", "deploy"):
        shutil.copytree(ROOT / name, code / name)
    driver = code / "receiver" / "couriers" / "shipmentapi.py"
    driver.write_text(driver.read_text() + RAISING)
    stage.code = code
    stage.restart("worker")
    body = raw(shipmentapi_order("raise", "accepted"))
    assert stage.post(SHIPMENTAPI, body).status_code == 200

    def undo() -> None:
        stage.code = ROOT
        stage.restart("worker")

    return undo


def retry_after_fix(stage: Stage, watch: Watch, outcome: Outcome) -> None:
    rows = stage.sql("SELECT reason FROM messages WHERE outcome = 'quarantined'")
    named = bool(rows) and re.search(r"KeyError at \S*shipmentapi\.py", str(rows[0])) is not None
    outcome.claim(named, f"the reason is {rows}")
    stage.code = ROOT
    stage.restart("worker")
    code, printed = stage.command("retry", "--outcome", "quarantined", "--account", "shipmentapi")
    outcome.claim(code == 0, f"retry ends with {code}: {printed}")
    found = sleep_until(lambda: stage.get("/v1/orders/shipmentapi/raise")[0] == 200, 30)
    outcome.claim(found, "the message is not processed after the fix")
    outcome.measured.append(
        f"the reason is {rows[0][0] if rows else None!r}; retried after the fix"
    )


REFUSED = "credentials_refused"

INCIDENTS = (
    Incident(
        "secret rotated", "the courier uses a secret that is not ours",
        rotate_secret, f"{REFUSED}/tiramizoo", "wrong credential", severity="critical", ends=False,
    ),
    Incident(
        "refused after one", "one refused, one right, forty refused in a row",
        refuse_after_one, f"{REFUSED}/tiramizoo", "no webhook has been accepted since",
        severity="critical", ends=False,
    ),
    Incident(
        "strangers", "three POSTs by a stranger with a wrong token", strangers,
        f"{REFUSED}/tiramizoo", "3 requests were refused", severity="warning", pushed=False,
        ends=False, holds=330, beside="strangers",
    ),
    Incident(
        "quiet courier refused", "four refused, none right since, 20 minutes ago by SQL",
        refuse_quiet_courier, f"{REFUSED}/shipmentapi", "4 requests were refused",
        severity="warning", pushed=False, ends=False, beside="strangers",
    ),
    Incident(
        "courier silent",
        "261 open orders, four weeks of past and 14.5 minutes of silence by SQL", fall_silent,
        "courier_silent/tiramizoo", "no webhook since", prepare=open_orders, noticed_within=90,
    ),
    Incident(
        "flood", "1,200 webhooks at once, after four weeks of 40 in ten minutes", flood,
        "hooks_flooding/tiramizoo", "webhooks arrived within", ends=False, noticed_within=90,
        prepare=learn_past,
    ),
    Incident(
        "unknown word", "a word without a status; later a second one",
        unknown_word, "word_unmapped/shipmentapi", "beamed", then=second_word, beside="messages",
    ),
    Incident(
        "poison bodies", "3 bodies without an id; later 100 of another reason", poison,
        "messages_quarantined/tiramizoo", "could not be read", then=second_reason, ends=False,
        beside="messages",
    ),
    Incident(
        "driver raises", "the driver raises KeyError at one message", raise_in_driver,
        "messages_quarantined/shipmentapi", "could not be read", then=retry_after_fix,
        may_show=frozenset({"no_workers"}),
    ),
)  # fmt: skip
