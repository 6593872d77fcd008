"""Check that each courier's API can be reached and accepts the account's credentials.

One request for each account, for an order that the courier probably knows. A finding claims no
more than the response proves.
"""

from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from receiver.cli.session import open_database
from receiver.couriers import DRIVERS
from receiver.couriers.polling import Access, Api, OrderNames, Request
from receiver.db.models import Order
from receiver.errors import CourierBusy, CourierRefused, CourierUnavailable
from receiver.settings import Account, Settings
from workers.cli.doctor.findings import BROKEN, NOTE, OK, WARNING, Finding, Findings, compare_clocks
from workers.cli.doctor.http_probe import REDIRECTS, NoResponse, ProbeResponse, send_probe
from workers.polling.access_tokens import token_request
from workers.polling.courier_api import BUSY, REFUSED, SERVER_ERROR, CourierApi

# A Date header has whole seconds and is made before the response has arrived.
DATE_UNCERTAINTY_SECONDS = 2.0


def check_couriers(settings: Settings) -> Findings:
    for account in settings.accounts.values():
        access, api = account.access, DRIVERS[account.driver].api
        if access is None or api is None:
            continue
        url_setting = f"{account.env_name('API_URL')}={access.url}"
        try:
            token = _fetch_access_token(account, access, api)
        except (CourierRefused, CourierUnavailable, CourierBusy) as error:
            yield Finding(account.slug, BROKEN, str(error), _token_advice(account, access, api))
            continue
        request, known = _choose_request(settings, account, access, api)
        if request is None:
            seen = "no request was tried: there is no order with all that its request needs"
            yield Finding(account.slug, NOTE, seen)
            continue
        headers = {
            "Accept": "application/json",
            **api.account_headers(access),
            **api.request_headers(access, request, datetime.now(UTC)),
            **({"Authorization": f"Bearer {token}"} if token is not None else {}),
        }
        try:
            response = send_probe(request.method, request.url, headers, request.body)
        except NoResponse as error:
            advice = f"Check {url_setting}, and that this host can reach it (DNS, firewall, proxy)."
            yield Finding(account.slug, BROKEN, str(error), advice)
            continue
        level, meaning, advice = _interpret(account, api, url_setting, response, known)
        seen = f"{response.status} in {response.milliseconds} ms: {meaning}"
        yield Finding(account.slug, level, seen, advice)
        if response.server_at is not None:
            times = (response.server_at, response.sent_at)
            uncertainty = response.milliseconds / 1000 + DATE_UNCERTAINTY_SECONDS
            clocks = compare_clocks(account.slug, *times, "the courier", uncertainty)
            if clocks.level != OK:
                advice = "Set this host's clock (NTP) if more than one courier shows this."
                yield Finding(account.slug, WARNING, clocks.seen, advice)


def _choose_request(
    settings: Settings, account: Account, access: Access, api: Api
) -> tuple[Request | None, str | None]:
    """Return a request for the courier's list, or else for an order, None where none can be made.

    Also the id of the order, None for one that the courier cannot know.
    """
    known = _find_known_order(settings, account)
    if api.list_request is not None:
        first_page = api.list_request(access, datetime.now(UTC), None)
        return first_page, known.courier_order_id if known else None
    if known is not None and (request := _first_request(access, api, known)):
        return request, known.courier_order_id
    sample = DRIVERS[account.driver].sample_order_id
    unknown = OrderNames(sample, reference=sample, metadata={"postcode": "00000"})
    return _first_request(access, api, unknown), None


def _first_request(access: Access, api: Api, names: OrderNames) -> Request | None:
    return next(iter(api.list_order_requests(access, names)), None)


def _fetch_access_token(account: Account, access: Access, api: Api) -> str | None:
    courier = CourierApi(account.slug, access, api)
    try:
        return courier.fetch_access_token(datetime.now(UTC))
    finally:
        courier.close()


def _token_advice(account: Account, access: Access, api: Api) -> str:
    oauth = api.find_oauth(access)
    url = token_request(access, oauth).url if oauth else ""
    names = " and ".join(map(account.env_name, ("API_USER", "API_TOKEN")))
    return f"Check {names}, and that {url} gives out access tokens and can be reached from here."


def _interpret(
    account: Account, api: Api, url_setting: str, response: ProbeResponse, known: str | None
) -> tuple[str, str, str]:
    """Return the level, what the response means and what to do."""
    status = response.status
    if status in api.success_statuses:
        if not response.body.lstrip().startswith((b"{", b"[")):
            advice = f"Check {url_setting}: a login page or a proxy may have answered instead."
            return BROKEN, "the body is not JSON", advice
        return OK, "our credentials are accepted", ""
    if status in REFUSED:
        advice = f"Check {account.env_name('API_TOKEN')} (and _API_USER), then restart the workers."
        return BROKEN, "our credentials are rejected", advice
    if status in api.unknown_statuses and known is None:
        seen = "the API answers, but does not know the order; the credentials could not be tested"
        return OK, seen, ""
    if status in api.unknown_statuses:
        names = f"{url_setting} and the path in {account.env_name('API')}"
        advice = f"If it knows no order at all, check {names}."
        return WARNING, f"the API does not know order {known}", advice
    if status in REDIRECTS:
        target = response.headers.get("location", "another address")
        advice = f"Redirects are not followed: set {url_setting} to the final address."
        return BROKEN, f"redirects to {target:.200}", advice
    if status == BUSY:
        return WARNING, "too many requests", "Find out who else uses the same credentials."
    meaning, advice = "unexpected response", f"Check {url_setting}."
    if status >= SERVER_ERROR:
        meaning, advice = "the courier's API has an internal error", "Wait: polls are retried."
    return WARNING, meaning, advice


def _find_known_order(settings: Settings, account: Account) -> OrderNames | None:
    """Return the names of the newest order of an account that its courier has reported."""
    reported = select(Order).where(Order.account == account.slug, Order.courier_status.is_not(None))
    try:
        with open_database(settings) as sessions, sessions() as session:
            order = session.scalar(reported.order_by(Order.id.desc()).limit(1))
    except SQLAlchemyError:
        return None
    if order is None:
        return None
    numbers = [number for parcel in order.parcels if (number := parcel["tracking_number"])]
    return OrderNames(
        order.identifiers.get("id", order.courier_order_id),
        is_courier_id=True,
        reference=order.reference,
        identifiers=order.identifiers,
        tracking_numbers=numbers,
        metadata=order.shop_metadata,
    )
