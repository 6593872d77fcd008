"""Whose fault an error is: a courier or a shop that is told to come back finds it mended."""

from http import HTTPStatus

import psycopg
import pytest
from flask import Flask
from sqlalchemy import exc

from receiver.web.problems import classify

TELLS = Exception("told by the driver")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (exc.OperationalError("", {}, TELLS), HTTPStatus.SERVICE_UNAVAILABLE),
        # A standby that was promoted too late: "cannot execute INSERT in a read-only transaction".
        (
            exc.InternalError("", {}, psycopg.errors.ReadOnlySqlTransaction()),
            HTTPStatus.SERVICE_UNAVAILABLE,
        ),
        (exc.TimeoutError(), HTTPStatus.SERVICE_UNAVAILABLE),
        (exc.DataError("", {}, TELLS), HTTPStatus.INTERNAL_SERVER_ERROR),
        (exc.ProgrammingError("", {}, TELLS), HTTPStatus.INTERNAL_SERVER_ERROR),
        (exc.IntegrityError("", {}, TELLS), HTTPStatus.INTERNAL_SERVER_ERROR),
    ],
)
def test_what_postgresql_refuses_of_us_is_our_fault_and_its_absence_is_not(
    error: Exception, status: HTTPStatus, app: Flask
) -> None:
    with app.test_request_context():
        assert classify(error).status == status
