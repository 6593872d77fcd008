"""The OpenAPI description of /v1, made of the blueprints themselves."""

import json
from functools import cache
from importlib.metadata import version

from flask import Flask
from flask_smorest import Api

from receiver.schemas.fields import ProblemSchema
from receiver.web.api.alerts import alerts
from receiver.web.api.blueprint import CONVERTERS
from receiver.web.api.changes import changes
from receiver.web.api.conflicts import attention
from receiver.web.api.couriers import accounts
from receiver.web.api.messages import messages
from receiver.web.api.orders import orders
from receiver.web.api.statuses import vocabulary
from receiver.web.api.tours import tours
from receiver.web.openapi.description import complete

BLUEPRINTS = (orders, messages, attention, changes, tours, vocabulary, accounts, alerts)


class Described(Api):  # type: ignore[misc] # flask-smorest is not typed
    """flask-smorest with our error bodies instead of its own."""

    ERROR_SCHEMA = ProblemSchema
    # Every answer that can come is described by its status.
    DEFAULT_ERROR_RESPONSE_NAME = None


@cache
def description() -> bytes:
    """The description as JSON, the same for any settings.

    Made when it is first asked for, in an application of its own that serves nobody: to describe
    all routes takes longer than all else that a process does to start.
    """
    app = Flask(__name__)
    app.config.update(
        API_TITLE="Ordertrail", API_VERSION=version("ordertrail"), OPENAPI_VERSION="3.1.0"
    )
    app.url_map.converters.update(CONVERTERS)
    api = Described(app, spec_kwargs={"security": [{"bearer": []}]})
    for blueprint in BLUEPRINTS:
        api.register_blueprint(blueprint, url_prefix="/v1")
    return json.dumps(complete(api.spec.to_dict())).encode()
