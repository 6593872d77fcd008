"""GET /v1/audit: the audit log."""

from typing import Any

from receiver.accounts.known_accounts import require_known_account
from receiver.audit.browse import list_entries
from receiver.schemas import audit as schemas
from receiver.web.api.blueprint import ApiBlueprint
from receiver.web.context import app_context
from receiver.web.openapi.components import UNKNOWN_ACCOUNT, UNKNOWN_ACCOUNT_EXAMPLE

audit = ApiBlueprint("audit", "The audit log: what people and clients of the API did.")


@audit.get("/audit", is_open_to_readers=False)
@audit.arguments(schemas.AuditFiltersSchema, location="query")
@audit.response(200, schemas.AuditPageSchema)
@audit.problem(404, UNKNOWN_ACCOUNT, UNKNOWN_ACCOUNT_EXAMPLE, "account_not_found")
def list_audit_entries(filters: dict[str, Any]) -> dict[str, Any]:
    """List who did what, newest first: by the API, in the console and on the command line.

    An action on many messages at once is one entry. Entries hold no content of messages, no
    references and no notes.
    """
    app = app_context()
    with app.sessions() as session:
        page = list_entries(session, filters)
        if not page["entries"] and "cursor" not in filters:
            require_known_account(session, app.settings, filters.get("account"))
        return page
