"""One INSERT and one commit a request, on a pool as the service has it."""

import os
from datetime import UTC, datetime

from flask import Flask, request
from sqlalchemy import Column, DateTime, Identity, Integer, MetaData, Table, insert
from sqlalchemy.dialects.postgresql import JSONB

from receiver.db.engine import create_engine_for

app = Flask(__name__)
engine = create_engine_for(os.environ["DATABASE_URL"])
hooks = Table(
    "hooks",
    MetaData(),
    Column("id", Integer, Identity(), primary_key=True),
    Column("body", JSONB),
    Column("received_at", DateTime(timezone=True)),
)


@app.post("/")
def take_in() -> dict[str, str]:
    with engine.begin() as connection:
        row = {"body": request.get_json(), "received_at": datetime.now(UTC)}
        connection.execute(insert(hooks), row)
    return {"status": "ok"}
