"""The endpoint that people write by hand: parse the JSON, queue a job, answer."""

import os

from flask import Flask, request
from redis import Redis
from rq import Queue

app = Flask(__name__)
queue = Queue("by-hand", connection=Redis.from_url(os.environ["REDIS_URL"]))


@app.post("/")
def take_in() -> dict[str, str]:
    queue.enqueue("tests.bench.peers.jobs.nothing", request.get_json())
    return {"status": "ok"}
