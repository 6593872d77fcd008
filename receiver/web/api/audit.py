"""GET /v1/audit: the audit log."""

from typing import Any

from receiver.audit.browse import list_entries
from receiver.schemas import audit as schemas
from receiver.web.api.blueprint import ApiBlueprint
from receiver.web.context import app_context

audit = ApiBlueprint("audit", "The audit log: what people and clients of the API did.")


@audit.get("/audit", is_open_to_readers=False)
@audit.arguments(schemas.AuditFiltersSchema, location="query")
@audit.response(200, schemas.AuditPageSchema)
def list_audit_entries(filters: dict[str, Any]) -> dict[str, Any]:
    """List who did what, newest first: by the API, in the console and on the command line.

    An action on many messages at once is one entry. Entries hold no content of messages, no
    references and no notes.
    """
    with app_context().sessions() as session:
        return list_entries(session, filters)
