"""Reading: get an order by its id, with a matching ETag, by reference, by tracking number.

Beside an empty view.
"""

from datetime import UTC, datetime

from receiver.db.engine import create_engine_for, session_factory
from receiver.settings import Settings
from tests.bench.drain import of_orders, put_in
from tests.bench.load import PLACE, Loaded, Request, load
from tests.bench.rounds import Rounds
from tests.bench.stage import TOKEN, Stage
from tests.bench.table import Figure, Goal, compare
from workers.folding.drain import drain_batch

ORDERS = 2_000
AUTHORIZATION = f"Authorization: Bearer {TOKEN}"


def reading(stage: Stage, rounds: Rounds) -> list[Figure]:
    """Ask for orders in turn, over all of them."""
    environ = stage.tables("reading")
    orders = rounds.of(ORDERS)
    put_in(environ["DATABASE_URL"], of_orders("r", orders))
    settings = Settings.from_env(environ)
    engine = create_engine_for(settings.database_url)
    while drain_batch(session_factory(engine), settings, datetime.now(UTC)):
        pass
    engine.dispose()
    web, empty = stage.web(environ), stage.web(environ, "empty_view")
    path = f"/v1/orders/tiramizoo/{PLACE.decode()}"
    asked = {
        "order": Request(web.port, "GET", path, headers=(AUTHORIZATION,)),
        "tagged": Request(web.port, "GET", path, headers=(AUTHORIZATION, "If-None-Match: *")),
        "referenced": Request(
            web.port, "GET", f"/v1/orders?reference=S-{PLACE.decode()}", headers=(AUTHORIZATION,)
        ),
        "tracked": Request(
            web.port,
            "GET",
            f"/v1/orders?tracking_number=T-{PLACE.decode()}",
            headers=(AUTHORIZATION,),
        ),
        "empty": Request(empty.port, "GET", "/"),
    }
    found: dict[str, list[Loaded]] = {name: [] for name in asked}
    for request in asked.values():
        load(request, 1, "r", among=orders)
    for _ in rounds.each("reading"):
        for name, request in asked.items():
            found[name].append(load(request, rounds.seconds, "r", among=orders))
    errors = sum(loaded.errors for loads in found.values() for loaded in loads)
    if errors:
        raise SystemExit(f"{errors} of the questions were not answered: see web.log")
    rates = {name: [loaded.rate for loaded in loads] for name, loads in found.items()}
    against = "an empty Flask view"
    return [
        compare("get one order", against, rates["order"], rates["empty"], Goal(least=0.52)),
        compare(
            "get one order, matching ETag",
            against,
            rates["tagged"],
            rates["empty"],
            Goal(least=0.58),
        ),
        compare(
            "orders by reference", against, rates["referenced"], rates["empty"], Goal(least=0.42)
        ),
        compare(
            "orders by tracking number", against, rates["tracked"], rates["empty"], Goal(least=0.42)
        ),
    ]
