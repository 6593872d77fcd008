"""Make the driver of a courier that is read through a field map."""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from receiver.couriers.contract import STUCK_AFTER, BodyKind, Driver, Heard, Topic
from receiver.couriers.field_map.compiled_map import Preset, find_faults, normalize_word
from receiver.couriers.field_map.decoding import decode_orders
from receiver.couriers.field_map.reading import is_noise
from receiver.couriers.field_map.samples import make_sample
from receiver.couriers.field_map.trial import try_map
from receiver.couriers.polling import Access, Api, path_requests
from receiver.couriers.schedule import Schedule


def make_driver(
    name: str,
    preset: Preset,
    *,
    schedule: Schedule,
    sample_order: tuple[str, str],
    body: BodyKind = "object",
    per_second: float = 5,
    stuck_after: Mapping[str, timedelta] = STUCK_AFTER,
) -> Driver:
    """Make a driver whose webhooks and poll answers are read by a field map.

    preset  what an account's own map is laid over
    body    which JSON its webhooks have, as Topic has it
    """
    decode = partial(decode_orders, preset)

    def judge(body: Any, heard: Heard) -> bool:
        return is_noise(preset, body, heard.field_map)

    return Driver(
        name=name,
        words=preset.words,
        topics={"orders": Topic(decode, body=body, is_noise=judge)},
        normalize_word=normalize_word,
        check_field_map=partial(find_faults, preset),
        try_field_map=partial(try_map, preset),
        api=Api(
            headers=_headers,
            order_requests=path_requests("/orders/{id}"),
            decode=decode,
            schedule=schedule,
            per_second=per_second,
            answer_body="any" if body == "any" else "object",
        ),
        zone=preset.zone,
        stuck_after=stuck_after,
        make_sample=partial(make_sample, preset),
        sample_order=sample_order,
    )


def _headers(access: Access) -> dict[str, str]:
    return {"Authorization": f"Bearer {access.token}"}
