"""COURIER_<ACCOUNT>_API, the settings that drivers declare, and credentials that cannot be sent."""

import json
from typing import Any

import pytest

from receiver.couriers import DRIVERS
from receiver.couriers.polling import Access, OAuth, OrderNames
from receiver.settings import ACCOUNT, BadSettings, Settings

REQUIRED = {
    "DATABASE_URL": "postgresql://db/x",
    "REDIS_URL": "redis://cache",
    "API_TOKENS": "0123456789abcdef",
}
SECRET = "scrt-5f2c9a77"


def account(name: str = "TIRAMIZOO", **given: str) -> dict[str, str]:
    own = {"SECRETS": "token-1", "API_TOKEN": SECRET, **given}
    return {**REQUIRED, **{f"COURIER_{name}_{setting}": value for setting, value in own.items()}}


def access(name: str = "TIRAMIZOO", **given: str) -> Access:
    found = Settings.from_env(account(name, **given)).accounts[name.lower()].access
    assert found is not None
    return found


def faults(name: str = "TIRAMIZOO", **given: str) -> list[str]:
    with pytest.raises(BadSettings) as caught:
        Settings.from_env(account(name, **given))
    assert SECRET not in str(caught.value)
    return caught.value.faults


def sent(known: Access, driver: str = "tiramizoo") -> tuple[list[str], dict[str, str]]:
    """The paths of the requests for an order, and the headers of each."""
    api = DRIVERS[driver].api
    assert api is not None
    names = OrderNames("A/1", reference="41", tracking_numbers=["P 1", "P2"])
    requests = api.list_order_requests(known, names)
    return [request.url.removeprefix(known.url) for request in requests], api.account_headers(known)


def test_without_it_an_account_is_polled_as_its_driver_says() -> None:
    paths, headers = sent(access())
    assert paths == ["/orders/A%2F1", "/orders/by_external_id/41"]
    assert headers == {"Api-Token": SECRET}


@pytest.mark.parametrize(
    ("auth", "headers"),
    [
        ("bearer", {"Authorization": f"Bearer {SECRET}"}),
        # base64 of `shop:scrt-5f2c9a77`.
        ("basic", {"Authorization": "Basic c2hvcDpzY3J0LTVmMmM5YTc3"}),
        ("header:X-Api-Key", {"X-Api-Key": SECRET}),
    ],
)
def test_it_says_how_the_account_authenticates(auth: str, headers: dict[str, str]) -> None:
    known = access(API=json.dumps({"auth": auth}), API_USER="shop")
    assert sent(known)[1] == headers


def test_headers_are_added_and_win_whatever_their_capitals() -> None:
    own = {"x-lang": "lv", "api-token": "another"}
    assert sent(access(API=json.dumps({"headers": own})))[1] == own


@pytest.mark.parametrize(
    ("path", "paths"),
    [
        ("/v2/{id}?full=1", ["/v2/A%2F1?full=1"]),
        ("/by/{reference}", ["/by/41"]),
        ("/track/{tracking_number}", ["/track/P%201", "/track/P2"]),
        ("/track/{tracking_number}/{postcode}", []),
    ],
)
@pytest.mark.parametrize("setting", ["API", "ORDER_PATH"])
def test_its_path_replaces_the_drivers(setting: str, path: str, paths: list[str]) -> None:
    given = {"API": json.dumps({"path": path}), "ORDER_PATH": path}
    assert sent(access(**{setting: given[setting]}))[0] == paths


def test_what_it_says_of_oauth_replaces_the_same_of_the_driver() -> None:
    def oauth(given: dict[str, Any], driver: str = "UBER") -> OAuth | None:
        own = {"DRIVER": driver.lower(), "API": json.dumps({"oauth": given})} if given else {}
        known = access(driver, **own, API_USER="client", CUSTOMER_ID="c", API_URL="http://a/v1")
        api = DRIVERS[driver.lower()].api
        assert api is not None
        assert api.account_headers(known) == {}
        return api.find_oauth(known)

    declared = oauth({})
    assert declared is not None
    assert declared.token_url is not None
    changed = oauth({"scope": "all", "extra": {"audience": "x"}})
    assert changed is not None
    assert (changed.scope, changed.extra) == ("all", {"audience": "x"})
    assert changed.token_url == declared.token_url
    moved = oauth({"token_path": "/token", "credential_names": ["user", "key"]})
    assert moved is not None
    assert (moved.token_url, moved.token_path) == (None, "/token")
    assert moved.credential_names == ("user", "key")


def test_basic_credentials_and_oauth_need_a_user() -> None:
    given = account(API=json.dumps({"auth": "basic"}))
    found = Settings.from_env(given).accounts["tiramizoo"]
    assert (found.access, found.missing_for_polling) == (None, ["API_USER"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        ({"url": "x"}, "url: is not a key of it, whose keys are path, auth, headers, oauth"),
        ({"oauth": {"url": "x"}}, "oauth.url: is not a key of it, whose keys are token_path,"),
        ({"path": "orders/{id}"}, "path: must start with /"),
        ({"path": "/orders"}, "path: must start with / and contain"),
        ({"path": "/{postcode}"}, "path: must start with / and contain"),
        ({"path": "/{name}"}, "path: unknown placeholder {name}"),
        ({"path": "/a b/{id}"}, "no space"),
        ({"path": "/../{id}"}, "segments"),
        ({"path": 7}, "path: Not a valid string."),
        ({"auth": "digest"}, "auth: must be bearer, basic or header:<Name>"),
        ({"auth": "header:"}, "auth: is not the name of a header"),
        ({"auth": "header:X Y"}, "auth: is not the name of a header"),
        ({"auth": "header:Host"}, "auth: Host is set by Ordertrail itself"),
        ({"headers": {"X-Key": f"{SECRET}\r\nX: 1"}}, "control character"),
        ({"headers": {"X-Key": ""}}, "is empty"),
        ({"headers": {"X-Key": 7}}, "Not a valid string."),
        ({"headers": {"X:": "1"}}, "is not the name of a header"),
        ({"headers": {"content-length": "1"}}, "content-length is set by Ordertrail itself"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "two headers have one name"),
        ({"oauth": {}}, "oauth needs token_path or token_url"),
        ({"oauth": {"token_path": "token"}}, "oauth.token_path: must start with /"),
        ({"oauth": {"token_url": "ftp://x"}}, "oauth.token_url: must be a URL"),
        ({"oauth": {"token_url": "http://u:p@x/"}}, "oauth.token_url: must end with its path"),
        ({"oauth": {"token_path": "/t", "token_url": "http://x/t"}}, "keep one of"),
        ({"oauth": {"token_path": "/t", "client_auth": "jwt"}}, "oauth.client_auth: Must be one"),
        ({"oauth": {"token_path": "/t", "credential_names": ["a"]}}, "oauth.credential_names:"),
        ({"oauth": {"token_path": "/t"}, "auth": "bearer"}, "auth: keep one of auth and oauth"),
    ],
)
def test_what_is_wrong_with_it_is_a_fault(given: Any, words: str) -> None:
    value = given if isinstance(given, str) else json.dumps(given)
    (line,) = faults(API=value)
    assert line.startswith("COURIER_TIRAMIZOO_API: ")
    assert words in line


def test_a_path_is_given_once() -> None:
    (line,) = faults(API='{"path": "/v2/{id}"}', ORDER_PATH="/orders/{id}")
    assert line.startswith("COURIER_TIRAMIZOO_API: path: ")
    assert "ORDER_PATH" in line


@pytest.mark.parametrize("name", ["API_TOKEN", "API_USER"])
@pytest.mark.parametrize("character", ["\n", "\r", "\x00", "\x7f"])
def test_credentials_that_no_header_can_hold_are_a_fault(name: str, character: str) -> None:
    (line,) = faults(**{name: f"{SECRET}{character}X: 1"})
    assert line.startswith(f"COURIER_TIRAMIZOO_{name}: contains a control character")


# Settings of a driver


def test_a_setting_of_its_driver_is_read() -> None:
    known = access("UBER", CUSTOMER_ID="c-7", API_USER="client")
    assert known.settings == {"CUSTOMER_ID": "c-7"}
    assert "c-7" not in repr(known)


def test_a_setting_of_another_driver_is_a_fault() -> None:
    assert faults(CUSTOMER_ID="c-7") == [
        "COURIER_TIRAMIZOO_CUSTOMER_ID: the driver tiramizoo has no such setting"
    ]


def test_a_setting_of_no_driver_is_no_setting() -> None:
    (line,) = faults("UBER", CUSTOMER="c-7")
    assert line.startswith("COURIER_UBER_CUSTOMER is not a setting")


def test_a_driver_describes_its_settings_and_takes_no_name_that_every_account_has() -> None:
    for driver in DRIVERS.values():
        for name, setting in driver.settings.items():
            assert setting.metadata["description"], (driver.name, name)
            assert name not in ACCOUNT.fields
            assert name.replace("_", "").isalnum()
            assert name.isupper()
