"""The blueprint that every part of the API is: strict about what it is asked."""

from typing import Any

from flask import Request
from flask_smorest import Blueprint
from marshmallow import RAISE, Schema
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import BadRequest


class Parser(FlaskParser):
    """A misspelt filter is refused, not ignored; a body that Python cannot read is a bad one."""

    DEFAULT_UNKNOWN_BY_LOCATION = {  # noqa: RUF012 (as webargs has it)
        **FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION,
        "query": RAISE,
    }

    def load_json(self, req: Request, schema: Schema) -> Any:
        try:
            return super().load_json(req, schema)
        except (RecursionError, ValueError):
            # Nested too deep, or a number of thousands of digits.
            raise BadRequest("the body is JSON that nobody can mean") from None


class Routes(Blueprint):  # type: ignore[misc] # flask-smorest is not typed
    """A blueprint whose arguments are read by Parser."""

    ARGUMENTS_PARSER = Parser()
