"""The runbook as a page of the console: a section for each alert, with the anchors of its links."""

import functools
import re
from importlib.resources import files
from typing import NamedTuple

from flask import Blueprint, render_template

runbook = Blueprint("runbook", __name__)


class Section(NamedTuple):
    """A section of the runbook. level: 1 or 2. paragraphs: its text, in plain Markdown."""

    level: int
    title: str
    anchor: str
    text: str


@runbook.get("/runbook")
def show_runbook_page() -> str:
    """Show the runbook of this version."""
    return render_template("console/runbook.html", sections=read_runbook())


@functools.cache
def read_runbook() -> list[Section]:
    """Return the sections of deploy/runbook.md, from the wheel or from the working tree."""
    package = files("receiver")
    for place in (package / "standalone" / "installed", package / ".."):
        page = place / "deploy" / "runbook.md"
        if page.is_file():
            parts = re.split(r"^(##?) (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
            return [
                Section(len(marks), title, anchor_of(title), text.strip())
                for marks, title, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True)
            ]
    return []


def anchor_of(title: str) -> str:
    """Return the anchor of a title, as GitHub makes it."""
    return re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
