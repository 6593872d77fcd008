"""How to ask each route, by curl and by httpx: written from the examples of its own description.

What is shown is what is described, so that neither can be true without the other; a test runs all
of them. They read ORDERTRAIL_URL and ORDERTRAIL_TOKEN from the environment: a pasted one tells no
token.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

# An answer that is held for news comes so many seconds after that at the latest.
PATIENCE = 10
MOST_IN_A_LINE = 60


@dataclass(frozen=True)
class Request:
    """One request as somebody would send it. path: with its parts quoted."""

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None


def request_for(
    method: str,
    path: str,
    parts: Mapping[str, str],
    query: Mapping[str, Any],
    body: Mapping[str, Any] | None,
) -> Request:
    """A request to a path of the description, such as /v1/orders/{account}/{order_id}."""
    for name, value in parts.items():
        path = path.replace(f"{{{name}}}", quote(value, safe=""))
    return Request(method.upper(), path, query, body)


def samples(request: Request) -> list[dict[str, str]]:
    """Both, as the x-codeSamples of an operation."""
    return [
        {"lang": "Shell", "label": "curl", "source": curl(request)},
        {"lang": "Python", "label": "httpx", "source": httpx(request)},
    ]


def in_words(told: Sequence[Mapping[str, str]]) -> str:
    """The same in Markdown, for readers that know no x-codeSamples."""
    fences = {"Shell": "sh", "Python": "python"}
    return "\n\n".join(
        f"**{it['label']}**\n\n```{fences[it['lang']]}\n{it['source']}\n```" for it in told
    )


def curl(request: Request) -> str:
    method = "" if request.method in {"GET", "POST"} else f" -X {request.method}"
    if request.method == "POST" and request.body is None:
        method = " -X POST"
    query = f"?{urlencode(_told(request.query))}" if request.query else ""
    lines = [
        f'curl -sS{method} "$ORDERTRAIL_URL{request.path}{query}"',
        '-H "Authorization: Bearer $ORDERTRAIL_TOKEN"',
    ]
    if request.body is not None:
        lines.append("-H 'Content-Type: application/json'")
        lines.append(f"-d {shlex.quote(json.dumps(request.body, ensure_ascii=False))}")
    return " \\\n  ".join(lines)


def httpx(request: Request) -> str:
    arguments = [f'"{request.path}"']
    if request.query:
        arguments.append(f"params={_python(_told(request.query))}")
    if request.body is not None:
        arguments.append(f"json={_python(request.body)}")
    if "wait" in request.query:
        arguments.append(f"timeout={request.query['wait'] + PATIENCE}")
    one_line = ", ".join(arguments)
    if len(one_line) > MOST_IN_A_LINE:
        one_line = "\n    " + ",\n    ".join(arguments) + ",\n"
    shown = "print(answer.status_code)" if request.method == "DELETE" else "print(answer.json())"
    return "\n".join(
        [
            "import os",
            "",
            "import httpx",
            "",
            "ordertrail = httpx.Client(",
            '    base_url=os.environ["ORDERTRAIL_URL"],',
            '    headers={"Authorization": f"Bearer {os.environ[\'ORDERTRAIL_TOKEN\']}"},',
            ")",
            f"answer = ordertrail.{request.method.lower()}({one_line})",
            "answer.raise_for_status()",
            shown,
        ]
    )


def _told(query: Mapping[str, Any]) -> dict[str, Any]:
    """As it stands in a URL: true and not True."""
    return {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in query.items()
    }


def _python(value: Any) -> str:
    """As people write Python: with double quotes."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_python(name)}: {_python(each)}" for name, each in value.items())
        return f"{{{inner}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_python, value))}]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
