"""Errors: RFC 9457 problem details."""

from marshmallow import Schema, fields

from receiver.schemas.fields import example, sometimes


class Problem(Schema):
    """RFC 9457 problem details."""

    type = fields.String(metadata=example("about:blank", "Always `about:blank`: see `status`."))
    title = fields.String(metadata=example("Not Found", "The status in words."))
    status = fields.Integer(metadata=example(404, "The HTTP status."))
    detail = fields.String(
        metadata=example("there is no message 7", "What was wrong, for a person to read.")
    )
    errors = fields.Dict(
        metadata=sometimes(
            {"query": {"limit": ["is not a whole number"]}},
            "Where single parameters (`query`) or fields (`json`) are wrong: by name, what is wrong"
            " with each. Inside lists and objects the position or the name comes first.",
        )
    )
