"""What a setting may be: checks for the schemas of the settings."""

from base64 import b64decode
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import urlsplit

from marshmallow import ValidationError

from receiver.access.tokens import TOKEN_CHARACTERS

# A secret of Standard Webhooks: this, and a key in base64.
WEBHOOK_SECRET = "whsec_"  # noqa: S105 (no secret)
WEBHOOK_KEY_BYTES = range(24, 65)
NEW_SECRET = 'create one with `echo "whsec_$(openssl rand -base64 32)"`'  # noqa: S105


def check_scheme(*schemes: str) -> Callable[[str], None]:
    """Return a check that a value is a URL of one of the schemes."""

    def check(url: str) -> None:
        try:
            parts = urlsplit(url)
            # Several Sentinels are a comma-separated list: one:26379,two:26379.
            hosts = parts.netloc.rpartition("@")[2].split(",")
            ports = [urlsplit(f"//{host}").port for host in hosts]
        except ValueError:
            raise ValidationError("is not a valid URL: check its host and port") from None
        if parts.scheme not in schemes or 0 in ports:
            raise ValidationError(f"must be a URL that starts with {' or '.join(schemes)}:")

    return check


def check_base_address(url: str) -> None:
    """Check an address to which paths are appended and which is logged: no user, query or space."""
    check_address(url)
    parts = urlsplit(url)
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValidationError("must end with its path and contain no user name, `?` or `#`")


def check_push_address(url: str) -> None:
    """Check the address that the change feed is pushed to. The signature shows who sends it."""
    check_address(url)
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ValidationError("must contain no user and password: the shop checks the signature")
    if parts.fragment:
        raise ValidationError("must contain no `#`")


def check_address(url: str) -> None:
    """Check an address of HTTP or HTTPS."""
    check_scheme("http", "https")(url)
    if not urlsplit(url).hostname:
        raise ValidationError("must contain a host")
    if not url.isascii() or any(character.isspace() for character in url):
        raise ValidationError("must not contain spaces or characters that need percent-encoding")


def check_apprise_addresses(urls: tuple[str, ...]) -> None:
    """Check addresses for alerts; a bad one is reported by its number, for it holds a password."""
    if not urls:
        return
    from apprise import Apprise  # noqa: PLC0415 (importing it takes half a second)

    bad = [str(place) for place, url in enumerate(urls, 1) if not Apprise().add(url)]
    if bad:
        raise ValidationError(f"Apprise does not recognize address no. {', '.join(bad)}")


def check_sentry_dsn(url: str) -> None:
    """Check that a value is the DSN of a project of Sentry."""
    check_scheme("http", "https")(url)
    parts = urlsplit(url)
    if not (parts.username and parts.hostname and parts.path.rpartition("/")[2].isdecimal()):
        raise ValidationError("is not the DSN of a project: https://<key>@<host>/<number>")


def check_installed(package: str, extra: str) -> Callable[[str], None]:
    """Return a check that the package of an extra is installed, whatever the value."""

    def check(_given: str) -> None:
        try:
            version(package)
        except PackageNotFoundError:
            message = f"needs {package}, which is not installed: pip install 'ordertrail[{extra}]'"
            raise ValidationError(message) from None

    return check


def check_credential(credential: str) -> None:
    """Check that a header can hold a credential; the message does not repeat it."""
    if any(character < " " or character == "\x7f" for character in credential):
        raise ValidationError("contains a control character, such as a line break")


def check_long_token(token: str) -> None:
    """Check that a token is too long to be guessed."""
    if len(token) < TOKEN_CHARACTERS:
        least = f"{TOKEN_CHARACTERS} characters: create one with `openssl rand -hex 32`"
        raise ValidationError(f"has fewer than {least}")


def check_webhook_secrets(secrets: Iterable[str]) -> None:
    """Check secrets of Standard Webhooks; a bad one is reported by its number."""
    bad = [str(place) for place, secret in enumerate(secrets, 1) if not _is_webhook_secret(secret)]
    if bad:
        form = f"whsec_ and 24 to 64 bytes in base64: {NEW_SECRET}"
        raise ValidationError(f"secret no. {', '.join(bad)} is not {form}")


def _is_webhook_secret(secret: str) -> bool:
    try:
        key = b64decode(secret.removeprefix(WEBHOOK_SECRET), validate=True)
    except ValueError:
        return False
    return secret.startswith(WEBHOOK_SECRET) and len(key) in WEBHOOK_KEY_BYTES
