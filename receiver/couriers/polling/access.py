"""The address and credentials of an account's API, and how they authenticate its requests."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# How the credentials are sent to the server that gives out tokens, and how the body is encoded.
CLIENT_AUTHS = ("basic", "body")
OAUTH_ENCODINGS = ("form", "json")


@dataclass(frozen=True, slots=True)
class OAuth:
    """How a courier gives out the access tokens that its API wants (RFC 6749, section 4.4).

    The client's id is the account's API_USER, its secret API_TOKEN. The access token is sent as
    `Authorization: Bearer`, kept in memory only, and renewed shortly before it expires. A login
    that is not OAuth works the same way: grant="", encoding="json" and the names of its fields.

    token_path   where tokens are given out, under the API's address; or
    token_url    the whole address, where that is another host
    scope        the scopes to request, separated by blanks
    client_auth  how the id and the secret are sent: `basic` (a header) or `body`
    grant        the grant_type, `client_credentials` or `password`; empty: none is sent
    extra        further parameters, such as `audience`
    encoding     how the request's body is encoded: `form` or `json`
    credential_names  the names of the id and the secret in the body; by default those of the grant
    token_name   the name of the access token in the answer
    """

    token_path: str | None = None
    token_url: str | None = None
    scope: str = ""
    client_auth: str = "basic"
    grant: str = "client_credentials"
    extra: Mapping[str, str] = field(default_factory=dict, repr=False)
    encoding: str = "form"
    credential_names: tuple[str, str] | None = None
    token_name: str = "access_token"  # noqa: S105 (a name)


@dataclass(frozen=True, slots=True)
class Access:
    """The address and credentials of an account's API, from configuration only.

    url         has no trailing slash
    order_path  the account's own path of one order under it, as requests_by_path() takes it; None:
                the driver's requests
    headers     the account's own request headers, beside the driver's
    settings    the values of the settings that the driver declares (Driver.settings)
    auth        how the account authenticates: `bearer`, `basic` or `header:<Name>`; None: as its
                driver does
    oauth       how the account gets an access token; None: as its driver does
    """

    url: str
    user: str | None
    token: str = field(repr=False)
    order_path: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    auth: str | None = None
    oauth: OAuth | None = None


def credential_headers(auth: str, access: Access) -> dict[str, str]:
    """Return the headers of an account that authenticates in a way of its own (Access.auth)."""
    if auth == "bearer":
        return {"Authorization": f"Bearer {access.token}"}
    if auth == "basic":
        return {"Authorization": basic_credentials(access.user or "", access.token)}
    return {auth.removeprefix("header:"): access.token}


def basic_credentials(user: str, password: str) -> str:
    """Return the value of an Authorization header (RFC 7617)."""
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"
