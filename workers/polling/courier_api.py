"""Send one request to a courier's API, and return its response or say what was wrong with it.

The only place that sends a request to a courier: to the account's API, and to the server that gives
out its access tokens. http_client.py bounds each of them.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from importlib.metadata import version

from receiver import errors
from receiver.couriers.polling import Access, Api, Request
from workers.polling.access_tokens import MAX_ANSWER_BYTES, AccessTokens, TokenAnswer
from workers.polling.http_client import (
    FAILURES,
    HttpClient,
    Response,
    Timeouts,
    describe_failure,
    find_header,
    parse_retry_after,
)

UNAUTHORIZED = 401
REFUSED = {UNAUTHORIZED, 403}
BUSY = 429
TIMED_OUT = 408
SERVER_ERROR = 500

# A courier that asks for a longer wait means something else.
MAX_WAIT_SECONDS = timedelta(days=1).total_seconds()
# How much is read of the body of an error.
MAX_ERROR_BYTES = 65_536

# What a URL and a header may hold: httpcore's own complaint would quote the token.
VALID_URL = re.compile(r"[!\"$-~]+")
VALID_HEADER = re.compile(rb"[!-~\x80-\xff]([ -~\x80-\xff]*[!-~\x80-\xff])?")


class _Unauthorized(Exception):
    """The API has refused an access token, which may have been revoked."""


class CourierApi:
    """The API of one account's courier. Threads may share it; a process made by fork must not."""

    def __init__(
        self, slug: str, access: Access, api: Api, timeouts: Timeouts | None = None
    ) -> None:
        self._slug = slug
        self._access = access
        self._api = api
        ours = {
            "User-Agent": f"Ordertrail/{version('ordertrail')}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        self._token_headers = ours
        self._headers = {**ours, **api.account_headers(access)}
        self._tokens: AccessTokens | None = None
        if (oauth := api.find_oauth(access)) is not None:
            send, describe = self._send_token_request, self._token_message
            self._tokens = AccessTokens(access, oauth, send, describe)
        self._http = HttpClient(f"courier-api-{slug}", timeouts or Timeouts())

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def fetch(self, request: Request, max_bytes: int, now: datetime) -> bytes:
        """Return the body of the courier's answer.

        now: what a Retry-After that names a date is counted from.

        Raises: UnknownToCourier and BrokenAnswer, which are about the order; CourierUnavailable,
            CourierBusy and CourierRefused, which are about the account; OutsideApi if the URL is
            not part of this account's API.
        """
        headers = self._api.request_headers(self._access, request, now)
        request = replace(request, headers=headers)
        self._check(request)
        return self._http.run(self._fetch(request, max_bytes, now))

    def fetch_access_token(self, now: datetime) -> str | None:
        """Return the account's access token, None where it needs none.

        Raises: CourierUnavailable, CourierBusy and CourierRefused, like fetch.
        """
        return self._http.run(self._tokens.current(now)) if self._tokens else None

    def _check(self, request: Request) -> None:
        """Allow no URL outside the account's own API, not by a driver's mistake either."""
        url = request.url
        path = url.partition("?")[0].split("/")
        if not url.startswith(f"{self._access.url}/") or {".", ".."} & set(path):
            raise errors.OutsideApi(f"account {self._slug}: not a URL of its courier's API")
        if not VALID_URL.fullmatch(url):
            message = "cannot be polled: its URL has a space, # or non-ASCII letter: check API_URL"
            raise errors.CourierRefused(self._message(f"{message} and the path in API"))
        values = [*self._headers.values(), *request.headers.values()]
        if not all(VALID_HEADER.fullmatch(value.encode()) for value in values):
            message = "cannot be polled: API_TOKEN contains a line break, or ends with a space"
            raise errors.CourierRefused(self._message(message))

    async def _fetch(self, request: Request, max_bytes: int, now: datetime) -> bytes:
        if self._tokens is None:
            return await self._fetch_with(request, self._headers, max_bytes, now)
        token = await self._tokens.current(now)
        try:
            return await self._fetch_with(request, self._authorized(token), max_bytes, now)
        except _Unauthorized:
            # Once more with a new one: it may have been revoked before it expired.
            self._tokens.discard(token)
        token = await self._tokens.current(now)
        try:
            return await self._fetch_with(request, self._authorized(token), max_bytes, now)
        except _Unauthorized:
            self._tokens.discard(token)
            message = f"refuses the access token that its OAuth server gave ({UNAUTHORIZED})"
            raise errors.CourierRefused(self._message(f"{message}: check API_USER")) from None

    def _authorized(self, token: str) -> dict[str, str]:
        return {**self._headers, "Authorization": f"Bearer {token}"}

    async def _fetch_with(
        self, request: Request, headers: dict[str, str], max_bytes: int, now: datetime
    ) -> bytes:
        try:
            async with self._http.exchange(request, headers) as response:
                if response.status not in self._api.success_statuses:
                    raise await self._error(response, now)
                if not response.is_uncompressed:
                    message = "compressed its answer, although the request forbade it"
                    raise errors.BrokenAnswer(self._message(message), None)
                body = await response.read(max_bytes)
        except FAILURES as error:
            raise errors.CourierUnavailable(self._message(describe_failure(error))) from None
        if body is None:
            message = f"answered with more than {max_bytes} bytes"
            raise errors.BrokenAnswer(self._message(message), None)
        return body

    async def _error(self, response: Response, now: datetime) -> Exception:
        """Return the error that a response without an answer means."""
        status = response.status
        if status == UNAUTHORIZED and self._tokens is not None:
            return _Unauthorized()
        if status in self._api.unknown_statuses:
            return errors.UnknownToCourier(self._message(f"does not know the order ({status})"))
        if status in REFUSED:
            message = f"refuses our credentials ({status}): check API_USER and API_TOKEN"
            return errors.CourierRefused(self._message(message))
        if error := await self._account_error(response, now, self._message):
            return error
        body = await response.read(MAX_ERROR_BYTES) if response.is_uncompressed else None
        message = f"answered with the unexpected status {status}"
        return errors.BrokenAnswer(self._message(message), body or None)

    async def _account_error(
        self, response: Response, now: datetime, describe: Callable[[str], str]
    ) -> errors.OrdertrailError | None:
        """Return the error of a server that cannot answer now, None for any other response."""
        status = response.status
        if status >= SERVER_ERROR or status == TIMED_OUT:
            return errors.CourierUnavailable(describe(f"answered with a server error ({status})"))
        if status != BUSY:
            return None
        seconds = await self._wait_seconds(response, now)
        wait = "" if seconds is None else f", retry in {seconds:.0f} seconds"
        return errors.CourierBusy(describe(f"limits our request rate{wait} ({status})"), seconds)

    async def _wait_seconds(self, response: Response, now: datetime) -> float | None:
        """Return how long a 429 asks us to wait, by its header or else by its text."""
        seconds = parse_retry_after(find_header(response.received, b"retry-after"), now)
        if seconds is None and self._api.read_retry_after is not None:
            try:
                body = await response.read(MAX_ERROR_BYTES) or b""
            except FAILURES:
                body = b""
            seconds = self._api.read_retry_after(body.decode(errors="replace"))
        return None if seconds is None else min(max(0.0, seconds), MAX_WAIT_SECONDS)

    async def _send_token_request(self, request: Request, now: datetime) -> TokenAnswer:
        describe = self._token_message
        try:
            async with self._http.exchange(request, self._token_headers) as response:
                if error := await self._account_error(response, now, describe):
                    raise error
                body = await response.read(MAX_ANSWER_BYTES) if response.is_uncompressed else None
                return TokenAnswer(response.status, body)
        except FAILURES as error:
            raise errors.CourierUnavailable(describe(describe_failure(error))) from None

    def _message(self, what: str) -> str:
        return f"account {self._slug}: the courier {what}"

    def _token_message(self, what: str) -> str:
        return f"account {self._slug}: the courier's OAuth server {what}"
