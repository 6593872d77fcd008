"""A span a request, named by its route: a courier's token stands in its address."""

from collections.abc import Container

from flask import Flask, Response, g, request
from opentelemetry import context
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from receiver.request_log import LEFT_OUT

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
SHOP = "/v1/"
SERVER_ERROR = 500


def init_app(app: Flask, tracer: Tracer, accounts: Container[str]) -> None:
    """Make a span of each request from now on; accounts: those that there are."""

    def begin() -> None:
        rule = request.url_rule.rule if request.url_rule is not None else None
        if rule not in LEFT_OUT:
            told = _told(rule, accounts)
            method = told["http.request.method"]
            name = f"{method} {rule}" if rule else method
            g.span = tracer.start_span(name, _before(), SpanKind.SERVER, told)
            g.span_token = context.attach(set_span_in_context(g.span))

    app.before_request(begin)
    app.after_request(_answered)
    app.teardown_request(_end)


def _told(rule: str | None, accounts: Container[str]) -> dict[str, str]:
    """What is said of a request; a stranger may have made up its method, and its account."""
    told = {"http.request.method": request.method if request.method in METHODS else "_OTHER"}
    if rule is not None:
        told["http.route"] = rule
    account = (request.view_args or {}).get("account", "")
    if account in accounts:
        told["ordertrail.account"] = account
    return told


def _before() -> Context | None:
    """The shop's own trace, which goes on here; a courier has no say in ours."""
    came = request.headers.get("traceparent")
    if came is None or not request.path.startswith(SHOP):
        return None
    return TraceContextTextMapPropagator().extract({"traceparent": came})


def _answered(answer: Response) -> Response:
    if "span" in g:
        g.span.set_attribute("http.response.status_code", answer.status_code)
        if answer.status_code >= SERVER_ERROR:
            g.span.set_status(StatusCode.ERROR)
        if "message_id" in g.get("logged", {}):
            g.span.set_attribute("ordertrail.message_id", g.logged["message_id"])
    return answer


def _end(_failure: BaseException | None) -> None:
    if "span" in g:
        context.detach(g.span_token)
        g.span.end()
