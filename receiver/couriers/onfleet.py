"""Onfleet: tasks of a shop's own drivers; each trigger has its own webhook, with the whole task.

An order is a dropoff task. A pickup task is a stop on the way to one: it ends without a delivery,
and its webhooks are discarded, as those about drivers, routes and text messages are.

A task has a number for its state, and says of a completed one whether it succeeded. Of the times it
has those of its creation, start, arrival and completion; when it was assigned or deleted, only the
webhook says. A failed task does not go on: its driver's reason is what a person has to act upon.

Source: docs.onfleet.com (Webhooks, Webhook validation, Webhook authentication, Get single task,
List tasks); the host of proofs is the one by which public receivers show them.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from marshmallow import fields

from receiver import statuses
from receiver.couriers import parsing
from receiver.couriers.body_reader import read_fields
from receiver.couriers.contract import Answer, Driver, Heard, SampleState, Topic
from receiver.couriers.polling import (
    Access,
    Api,
    OrderNames,
    Page,
    Request,
    basic_credentials,
    read_items,
    requests_by_name,
)
from receiver.couriers.schedule import Backoff, Schedule
from receiver.couriers.signatures import Hmac
from receiver.couriers.snapshot import (
    Decoded,
    Event,
    MessageContext,
    Moment,
    Parameters,
    Proof,
    Snapshot,
    make_eta,
    make_event,
    make_window,
    recency_of,
)
from receiver.errors import Undecodable

# The zone of times without one; Onfleet's own are Unix milliseconds.
ZONE = "UTC"

WORDS = {
    "unassigned": statuses.INFO_RECEIVED,
    "assigned": statuses.AWAITING_PICKUP,
    "active": statuses.OUT_FOR_DELIVERY,
    "arrived": statuses.OUT_FOR_DELIVERY,
    "failed": statuses.DELIVERY_FAILED,
    "deleted": statuses.CANCELLED,
    "completed": statuses.DELIVERED,
}
STEPS = {word: step for step, word in enumerate(WORDS)}

STATES = {"0": "unassigned", "1": "assigned", "2": "active", "3": "completed"}
FINAL = ("completed", "failed")
# The triggers that report what happened at the webhook's `time`.
FAILED, CREATED, UNASSIGNED = "4", "6", "10"
TRIGGERS = {
    "0": "active",
    "2": "arrived",
    "3": "completed",
    FAILED: "failed",
    "8": "deleted",
    "9": "assigned",
    UNASSIGNED: "unassigned",
}
EVENTS = {"start": "active", "arrival": "arrived"}
NO_REASON = "NONE"
PROOF_URL = "https://d15p8tr8p0vffz.cloudfront.net/{}/800x.png"


class MetadataSchema(parsing.Body):
    name = parsing.optional_name()
    value = parsing.optional_name()


class EventSchema(parsing.Body):
    name = parsing.optional_name()
    time = parsing.optional_time()


class CompletionSchema(parsing.Body):
    success = parsing.optional_flag()
    time = parsing.optional_time()
    failureReason = parsing.optional_text()
    failureNotes = parsing.optional_text()
    signatureText = parsing.optional_text()
    signatureUploadId = parsing.optional_name()
    photoUploadId = parsing.optional_name()
    events = parsing.optional_list(EventSchema)


class TaskSchema(parsing.Body):
    id = parsing.required_name()
    state = parsing.required_name()
    shortId = parsing.optional_name()
    pickupTask = parsing.optional_flag()
    timeCreated = parsing.optional_time()
    timeLastModified = parsing.optional_time()
    trackingURL = parsing.optional_url()
    completeAfter = parsing.optional_time()
    completeBefore = parsing.optional_time()
    estimatedArrivalTime = parsing.optional_time()
    eta = parsing.optional_time()
    completionDetails = parsing.optional_object(CompletionSchema)
    metadata = parsing.optional_list(MetadataSchema)


class DataSchema(parsing.Body):
    task = parsing.required_object(TaskSchema)


class WebhookSchema(parsing.Body):
    triggerId = parsing.optional_name()
    time = parsing.optional_time()
    data = parsing.required_object(DataSchema)


def decode_webhook(body: dict[str, Any], context: MessageContext) -> Decoded:
    """Decode the webhook of any trigger that is about a task.

    Shape:  {"triggerId", "time", "taskId", "data": {"task": {...}}}, see decode_task().
    Raises: Undecodable where data.task, its id or its state cannot be read.
    """
    webhook, left_out = read_fields(WebhookSchema, body)
    webhook = parsing.aware_times(webhook, context.zone or ZONE)
    snapshot = _read_task(webhook["data"]["task"], context, webhook["triggerId"], webhook["time"])
    return Decoded(orders=(snapshot,), left_out=left_out)


def decode_task(body: dict[str, Any], context: MessageContext) -> Decoded:
    """Decode the response to a poll of a task.

    Shape:  {"id", "shortId", "state": 0 to 3, "timeCreated", "trackingURL", "eta", "metadata":
            [{"name", "value"}], "completionDetails": {"success", "time", "failureReason",
            "events": [{"name", "time"}], "photoUploadId", "signatureUploadId"}}
    Units:  times are Unix milliseconds.
    Raises: Undecodable where id or state cannot be read, and for a pickup task.
    """
    task, left_out = read_fields(TaskSchema, body)
    task = parsing.aware_times(task, context.zone or ZONE)
    return Decoded(orders=(_read_task(task, context, None, None),), left_out=left_out)


def _read_task(
    task: dict[str, Any], context: MessageContext, trigger: str | None, time: Moment | None
) -> Snapshot:
    if task["pickupTask"]:
        raise Undecodable("a pickup task is a stop on the way to a delivery, not an order")
    events = _read_events(task, context, trigger, time)
    moments = [time, task["timeLastModified"], task["timeCreated"]]
    times = [moment.at for moment in moments if moment]
    times += [event.reported_at for event in events if event.reported_at]
    metadata = {entry["name"]: entry["value"] for entry in task["metadata"] or ()}
    arrival = None if task["state"] == "3" else task["estimatedArrivalTime"] or task["eta"]
    return Snapshot(
        courier_order_id=task["id"],
        recency=recency_of(max(times, default=None), context),
        events=events,
        reference=metadata.get(context.settings.get("REFERENCE_FIELD") or "reference"),
        identifiers={"short_id": task["shortId"]} if task["shortId"] else {},
        details={
            "tracking_url": task["trackingURL"],
            "promised": make_window(task["completeAfter"], task["completeBefore"]),
        },
        eta=make_eta(arrival, context),
        time_count=sum(event.reported_at is not None for event in events),
    )


def _read_events(
    task: dict[str, Any], context: MessageContext, trigger: str | None, time: Moment | None
) -> tuple[Event, ...]:
    """Return what happened to a task, each with its time, and its state."""
    completion = task["completionDetails"] or {}
    word = STATES.get(task["state"], task["state"])
    if word == "completed" and (completion.get("success") is False or trigger == FAILED):
        word = "failed"
    reported = word if trigger == CREATED else TRIGGERS.get(trigger or "")
    if reported == "deleted":
        word = reported

    moments: dict[str, Moment | None] = {"unassigned": task["timeCreated"]}
    for entry in completion.get("events") or ():
        if entry["name"] in EVENTS:
            moments[EVENTS[entry["name"]]] = entry["time"]
    if word in FINAL:
        moments[word] = completion.get("time")
    if reported is not None:
        moments[reported] = time if trigger == UNASSIGNED else moments.get(reported) or time
    zone = context.zone or ZONE
    timed = {name: parsing.in_zone(moment, zone) for name, moment in moments.items() if moment}
    untimed = [] if word in timed or (word == "active" and "arrived" in timed) else [word]
    if word == "unassigned" and context.kind == "poll":
        # It may have been unassigned since: only the answer to our own request says so.
        untimed = [word]
    return tuple(
        make_event(
            name,
            WORDS.get(name),
            context,
            moment,
            step=STEPS.get(name, 0),
            reason=_read_reason(completion) if name == "failed" else None,
            proofs=_read_proofs(completion) if name in FINAL else frozenset(),
        )
        for name, moment in [*timed.items(), *((name, None) for name in untimed)]
    )


def _read_reason(completion: dict[str, Any]) -> str | None:
    reasons = (completion.get("failureReason"), completion.get("failureNotes"))
    return next((reason for reason in reasons if reason not in (None, NO_REASON)), None)


def _read_proofs(completion: dict[str, Any]) -> frozenset[Proof]:
    found = {
        ("photo", completion.get("photoUploadId"), ""),
        ("signature", completion.get("signatureUploadId"), completion.get("signatureText") or ""),
    }
    return frozenset(
        Proof(kind, PROOF_URL.format(quote(upload_id, safe="")), name)
        for kind, upload_id, name in found
        if upload_id
    )


def _answer_check(query: Parameters) -> Answer:
    """Return the text that Onfleet sends before it registers a webhook."""
    check = query.get("check")
    if not isinstance(check, str):
        return Answer(400, b"check is missing, or stands there twice", "text/plain; charset=utf-8")
    return Answer(200, check.encode(), "text/plain; charset=utf-8")


def _is_noise(content: dict[str, Any], _heard: Heard) -> bool:
    """Return whether a webhook is about something else than a dropoff task."""
    data = content.get("data")
    task = data.get("task") if isinstance(data, dict) else None
    if isinstance(task, dict):
        return task.get("pickupTask") is True
    return "triggerId" in content and not content.get("taskId")


def _headers(access: Access) -> dict[str, str]:
    return {"Authorization": basic_credentials(access.token, "")}


def _order_requests(access: Access, names: OrderNames) -> Iterator[Request]:
    yield from requests_by_name(access, "/tasks/{id}", names.courier_order_id)
    if not names.is_courier_id:
        yield from requests_by_name(access, "/tasks/shortId/{id}", names.courier_order_id)


def _list_request(access: Access, since: datetime, cursor: str | None) -> Request:
    page = {"from": int(since.timestamp() * 1000), **({"lastId": cursor} if cursor else {})}
    return Request(f"{access.url}/tasks/all?{urlencode(page)}")


def _read_list_page(raw: bytes, _cursor: str | None) -> Page:
    """Read a page of List tasks: {"tasks": [{...}], "lastId"}, without lastId on the last one."""
    tasks, page = read_items(raw, "tasks")
    return Page(tasks, page.get("lastId") or None)


def _make_sample(sample: SampleState) -> dict[str, Any]:
    time = int(sample.at.timestamp() * 1000)
    triggers = {word: trigger for trigger, word in TRIGGERS.items()}
    states = {word: int(state) for state, word in STATES.items()}
    states |= {"arrived": 2, "failed": 3, "deleted": 0}
    task: dict[str, Any] = {
        "id": sample.order_id,
        "state": states.get(sample.word, sample.word),
        "completionDetails": {"success": sample.word == "completed"},
    }
    if sample.is_sample:
        task["shortId"] = f"{sample.order_id}-SHORT"
        task["metadata"] = [{"name": "reference", "type": "string", "value": sample.reference}]
    return {
        "time": time,
        "triggerId": int(triggers.get(sample.word, "7")),
        "taskId": sample.order_id,
        "data": {"task": task},
    }


driver = Driver(
    name="onfleet",
    words=WORDS,
    topics={"orders": Topic(decode_webhook, handshake=_answer_check, is_noise=_is_noise)},
    signature=Hmac("X-Onfleet-Signature", algorithm="sha512", key="hex"),
    settings={
        "REFERENCE_FIELD": fields.String(
            load_default="reference",
            metadata={"description": "the name of the metadata that holds the shop's own number"},
        )
    },
    api=Api(
        url="https://onfleet.com/api/v2",
        headers=_headers,
        order_requests=_order_requests,
        list_request=_list_request,
        read_list_page=_read_list_page,
        decode=decode_task,
        per_second=10,
        schedule=Schedule(default=Backoff(timedelta(minutes=30), timedelta(hours=6))),
    ),
    zone=ZONE,
    make_sample=_make_sample,
    sample_order=("ORDERTRAIL-SAMPLE-O", "active"),
)
