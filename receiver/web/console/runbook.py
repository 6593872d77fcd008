"""The runbook as a page of the console: a section for each alert, with the anchors of its links."""

import functools
import re
from importlib.resources import files
from itertools import pairwise

from flask import Blueprint, render_template
from markdown_it import MarkdownIt
from markupsafe import Markup

runbook = Blueprint("runbook", __name__)

# The page's own title is above them.
HEADINGS = {"h1": "h2", "h2": "h3"}


@runbook.get("/runbook")
def show_runbook_page() -> str:
    """Show the runbook of this version."""
    return render_template("console/runbook.html", runbook=render_runbook())


@functools.cache
def render_runbook() -> Markup:
    """Return deploy/runbook.md, from the wheel or from the working tree, as HTML."""
    package = files("receiver")
    for place in (package / "standalone" / "installed", package / ".."):
        page = place / "deploy" / "runbook.md"
        if page.is_file():
            return _render_markdown(page.read_text(encoding="utf-8").removeprefix("# Runbook\n"))
    return Markup()


def _render_markdown(text: str) -> Markup:
    markdown = MarkdownIt("commonmark", {"html": False})
    tokens = markdown.parse(text)
    for token, following in pairwise(tokens):
        if token.type == "heading_open":
            token.attrSet("id", anchor_of(following.content))
        if token.type in {"heading_open", "heading_close"}:
            token.tag = HEADINGS.get(token.tag, token.tag)
    return Markup(markdown.renderer.render(tokens, markdown.options, {}))  # noqa: S704 (our own file)


def anchor_of(title: str) -> str:
    """Return the anchor of a title, as GitHub makes it."""
    return re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
