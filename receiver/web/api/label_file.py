"""Send the label of an order, for the API and the console."""

from flask import Response, request

from receiver.orders.labels import label_file_name, read_label
from receiver.web.context import app_context


def answer_label(account: str, order_id: str) -> Response:
    """Answer with the file, as a download that no browser runs or shows as a page of ours.

    Raises: UnknownOrder, AmbiguousIdentifier; UnknownLabel.
    """
    with app_context().sessions() as session:
        order, label = read_label(session, account, order_id)
        name = label_file_name(order.courier_order_id, label.content_type)
        answer = Response(label.content, content_type=label.content_type)
        answer.set_etag(label.sha256)
    answer.headers["Cache-Control"] = "private, no-cache"
    answer.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    answer.headers.set("Content-Disposition", "attachment", filename=name)
    answer.make_conditional(request)
    return answer
