"""Which status an error has: a sender is told to retry where that can help, and bugs are logged."""

from http import HTTPStatus

import psycopg
import pytest
from flask import Flask
from sqlalchemy import exc
from structlog.testing import capture_logs

from receiver import errors
from receiver.web.problems import classify

DRIVER_ERROR = Exception("from the driver")
UNREACHABLE = [
    exc.OperationalError("", {}, DRIVER_ERROR),
    exc.InterfaceError("", {}, DRIVER_ERROR),
    exc.TimeoutError(),
    # A primary that became a standby: "cannot execute INSERT in a read-only transaction".
    exc.InternalError("", {}, psycopg.errors.ReadOnlySqlTransaction()),
]
OUR_BUGS = [
    exc.DataError("", {}, DRIVER_ERROR),
    exc.ProgrammingError("", {}, DRIVER_ERROR),
    exc.IntegrityError("", {}, DRIVER_ERROR),
    exc.InternalError("", {}, DRIVER_ERROR),
    exc.InvalidRequestError("secret-value"),
    errors.Undecodable("secret-value"),
    KeyError("secret-value"),
]


@pytest.mark.parametrize("error", UNREACHABLE, ids=repr)
def test_an_unreachable_database_is_503(error: Exception, app: Flask) -> None:
    with app.test_request_context():
        assert classify(error).status == HTTPStatus.SERVICE_UNAVAILABLE


@pytest.mark.parametrize("error", OUR_BUGS, ids=repr)
def test_every_other_error_is_500_and_logged_without_values(error: Exception, app: Flask) -> None:
    with app.test_request_context(), capture_logs() as logged:
        with pytest.raises(type(error)):
            raise error
        problem = classify(error)
    assert problem.status == HTTPStatus.INTERNAL_SERVER_ERROR
    assert "secret-value" not in problem.detail
    [line] = logged
    assert (line["event"], line["error"]) == ("request_failed", type(error).__name__)
    assert line["frames"][-1].startswith("test_problems.py:")
    assert "secret-value" not in str(line)


def test_an_error_of_the_client_is_not_logged(app: Flask) -> None:
    with app.test_request_context(), capture_logs() as logged:
        problem = classify(errors.UnknownOrder("no such order"))
    assert (problem.status, problem.detail) == (HTTPStatus.NOT_FOUND, "no such order")
    assert logged == []
