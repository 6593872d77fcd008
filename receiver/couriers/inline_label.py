"""Labels that a courier puts into its message as base64, instead of a URL.

A label is a file for a printer. It is kept only if its first bytes are those of a kind that labels
come in: nothing that a browser would run, such as HTML or SVG, is ever served as a label.
"""

import base64
import binascii
import functools
import re
from typing import Any

from marshmallow import ValidationError

from receiver.couriers.parsing import Text, WebUrl
from receiver.couriers.snapshot import Label

# A label of one page has 10 to 300 kB. Larger ones are left out.
MAX_LABEL_BYTES = 2_097_152
# Four characters for three bytes, and line breaks.
_MAX_BASE64_LENGTH = MAX_LABEL_BYTES * 3 // 2

PDF, PNG, GIF, JPEG, ZPL = (
    *("application/pdf", "image/png", "image/gif", "image/jpeg"),
    # Zebra's printer language, text that begins with ^XA; not registered with IANA.
    "application/zpl",
)
# Each kind of label and how its file begins.
_BEGINNINGS = {
    PDF: re.compile(rb"%PDF-"),
    PNG: re.compile(rb"\x89PNG\r\n\x1a\n"),
    GIF: re.compile(rb"GIF8[79]a"),
    JPEG: re.compile(rb"\xff\xd8\xff"),
    # Printer drivers put a line before it that resets the printer's control characters.
    ZPL: re.compile(rb"\s*(?:CT~~CD,~CC\^~CT~\s*)?\^XA"),
}
# How the name of a file of each kind ends.
FILE_ENDINGS = {PDF: "pdf", PNG: "png", GIF: "gif", JPEG: "jpg", ZPL: "zpl"}
_DATA_URL = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)


def parse_label(text: str) -> Label:
    """Parse a label in base64, or in a `data:` URL with base64; blanks and line breaks are skipped.

    The kind is that of the file's first bytes, whatever a `data:` URL says.

    Raises: ValueError, which says why without the content.
    """
    if prefix := _DATA_URL.match(text):
        text = text[prefix.end() :]
    if len(text) > _MAX_BASE64_LENGTH:
        raise ValueError(f"longer than {MAX_LABEL_BYTES} bytes")
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not base64") from None
    if len(content) > MAX_LABEL_BYTES:
        raise ValueError(f"longer than {MAX_LABEL_BYTES} bytes")
    for content_type, beginning in _BEGINNINGS.items():
        if beginning.match(content):
            return Label(content, content_type)
    raise ValueError("not a PDF, PNG, GIF, JPEG or ZPL file")


class InlineLabel(Text):
    """A label in base64."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, *args, **kwargs)
        try:
            return parse_label(text)
        except ValueError as error:
            raise ValidationError(f"Not a label in base64: {error}.") from None


class UrlOrLabel(WebUrl):
    """The URL of a label as text, or the label itself in base64 as a Label."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return super()._deserialize(value, *args, **kwargs)
        except ValidationError:
            if not isinstance(value, str):
                raise
        try:
            return parse_label(value)
        except ValueError as error:
            raise ValidationError(
                f"Neither the URL of a web page nor a label in base64: {error}."
            ) from None


optional_label = functools.partial(InlineLabel, allow_none=True, load_default=None)
optional_url_or_label = functools.partial(UrlOrLabel, allow_none=True, load_default=None)
