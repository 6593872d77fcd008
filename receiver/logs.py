"""JSON lines on stdout for every process. No bodies, no tokens, no personal data go into one."""

import logging
import logging.config
import traceback
from pathlib import Path
from typing import Any

import structlog

SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]


def without_request_line(record: logging.LogRecord) -> bool:
    """Keep gunicorn from logging the request line that it could not read: a token may be in it."""
    if record.getMessage().startswith("Invalid request"):
        record.msg, record.args = "an invalid request was refused", ()
    return True


def config(process: str) -> dict[str, Any]:
    """The standard library's logging as JSON lines that name the process (web, worker, clock)."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": SHARED,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    _named(process),
                    structlog.processors.JSONRenderer(),
                ],
            }
        },
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "formatter": "json",
                "stream": "ext://sys.stdout",
            }
        },
        "root": {"handlers": ["console"], "level": "INFO"},
        "loggers": {
            # RQ tells of every job at INFO; a drain tells of itself where it did something.
            "rq": {"level": "WARNING", "handlers": ["console"], "propagate": False},
            "alembic": {"level": "WARNING"},
            # They tell of every request at INFO, with its address.
            "httpx": {"level": "WARNING"},
            "httpcore": {"level": "WARNING"},
            "gunicorn.error": {
                "level": "INFO",
                "handlers": ["console"],
                "propagate": False,
                "filters": [without_request_line],
            },
            "gunicorn.access": {"level": "WARNING", "handlers": ["console"], "propagate": False},
        },
    }


def exception_fields(failure: BaseException) -> dict[str, str]:
    """What a log line says of a failure: what and where, never its text, which may hold rows."""
    frames = traceback.extract_tb(failure.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename] or list(frames)
    where = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "?"
    sqlstate = getattr(getattr(failure, "orig", None), "sqlstate", None)
    return {"error": type(failure).__name__, "where": where} | (
        {"sqlstate": sqlstate} if sqlstate else {}
    )


def exception_frames(error: BaseException) -> list[str]:
    """Return where an exception came through, outermost first, as "file:line function"."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]


def gunicorn_logconfig() -> dict[str, Any]:
    """What deploy/gunicorn.conf.py sets as logconfig_dict."""
    _structlog()
    return config("web")


def configure(process: str) -> None:
    """Set up logging for a process that is not gunicorn's."""
    _structlog()
    logging.config.dictConfig(config(process))


def _structlog() -> None:
    structlog.configure(
        processors=[*SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _named(process: str) -> Any:
    def add(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
        return {"process": process, **event}

    return add
