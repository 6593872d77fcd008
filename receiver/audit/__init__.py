"""The audit log: who did what to which order or message, written together with the action."""

from receiver.audit.actor import Actor, act_as, current_actor
from receiver.audit.record import (
    ACKNOWLEDGE,
    ACTIONS,
    CHANGE,
    CLOSE,
    DELETE,
    DISCARD,
    ERASE,
    REFRESH,
    REGISTER,
    RETRY,
    SIGN_IN,
    SIGN_OUT,
    record_action,
    record_actions,
)

__all__ = [
    "ACKNOWLEDGE",
    "ACTIONS",
    "CHANGE",
    "CLOSE",
    "DELETE",
    "DISCARD",
    "ERASE",
    "REFRESH",
    "REGISTER",
    "RETRY",
    "SIGN_IN",
    "SIGN_OUT",
    "Actor",
    "act_as",
    "current_actor",
    "record_action",
    "record_actions",
]
