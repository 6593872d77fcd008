"""Every page of the console by its address, and what of a page's layout is wrong."""

from collections.abc import Iterator, Mapping

from flask import Flask
from playwright.sync_api import Page

from receiver.web import console, problems
from receiver.web.api.blueprint import CONVERTERS

# How the names of views begin that send a file.
FILES = ("static", "download_")

# What sticks out of the screen or of what it is in, and short words that are broken in two. What
# is behind something that scrolls may be wider.
FAULTS = r"""() => {
  const faults = [], wide = document.documentElement.clientWidth;
  const name = (at) => `${at.tagName}.${at.className} "${at.textContent.trim().slice(0, 40)}"`;
  const style = getComputedStyle;
  const scrolls = (at) => at && (style(at).overflowX !== "visible" || scrolls(at.parentElement));
  const hidden = ".unseen, .skip, svg, option, .cards thead";
  if (document.documentElement.scrollWidth > wide)
    faults.push(`the page is ${document.documentElement.scrollWidth} wide, the screen ${wide}`);
  for (const at of document.body.querySelectorAll("*")) {
    if (at.closest(hidden) || !at.checkVisibility() || scrolls(at)) continue;
    const box = at.getBoundingClientRect();
    if (box.right > wide + 1 || box.left < -1) faults.push(`outside the screen: ${name(at)}`);
    else if (style(at).display !== "inline" && at.scrollWidth > at.clientWidth + 1)
      faults.push(`its content sticks out: ${name(at)}`);
  }
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode, range = document.createRange();
    if (text.parentElement.closest(hidden) || !text.parentElement.checkVisibility()) continue;
    for (const word of text.data.matchAll(/(?<!\S)[\p{L}']{2,16}[.,:;]?(?!\S)/gu)) {
      range.setStart(text, word.index);
      range.setEnd(text, word.index + word[0].length);
      const lines = new Set([...range.getClientRects()].map((line) => Math.round(line.top)));
      if (lines.size > 1) faults.push(`broken: "${word[0]}" in ${name(text.parentElement)}`);
    }
  }
  return faults;
}"""
OPEN_DETAILS = "document.querySelectorAll('details').forEach((each) => { each.open = true; })"


def console_pages(values: Mapping[str, str]) -> Iterator[str]:
    """The address of each page that the console has. values: of the parameters of addresses."""
    pages = Flask("pages")
    pages.url_map.converters.update(CONVERTERS)
    problems.init_app(pages)
    console.init_app(pages)
    addresses = pages.url_map.bind("console")
    for rule in pages.url_map.iter_rules():
        is_page = not rule.endpoint.rpartition(".")[2].startswith(FILES)
        if is_page and rule.rule.startswith("/ops") and "GET" in (rule.methods or ()):
            yield addresses.build(rule.endpoint, {name: values[name] for name in rule.arguments})


def layout_faults(page: Page) -> list[str]:
    """What is wrong with the layout of a page, with everything on it that can be opened open."""
    page.evaluate(OPEN_DETAILS)
    found: list[str] = page.evaluate(FAULTS)
    return found
