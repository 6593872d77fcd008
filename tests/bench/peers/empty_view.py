"""An empty Flask view: what answering costs where nothing is done."""

from flask import Flask

app = Flask(__name__)


@app.route("/", methods=["GET", "POST"])
def nothing() -> str:
    return "ok"
