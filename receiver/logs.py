"""JSON lines on stdout for every process, without bodies, tokens and personal data."""

import logging
import logging.config
import os
import traceback
from pathlib import Path
from typing import Any

import structlog

ROOT = Path(__file__).resolve().parent.parent
OUR_FILES = tuple(f"{ROOT / package}{os.sep}" for package in ("receiver", "workers"))

PROCESSORS: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]


def configure(process: str) -> None:
    """Set up logging for a process that is not gunicorn's."""
    logging.config.dictConfig(gunicorn_logconfig(process))


def gunicorn_logconfig(process: str = "web") -> dict[str, Any]:
    """Return the logging configuration of a process (web, worker, clock) as a dictConfig.

    deploy/gunicorn.conf.py passes it to gunicorn as logconfig_dict.
    """
    structlog.configure(
        processors=[*PROCESSORS, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )

    def add_process(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        return {"process": process, **event}

    to_stdout = {"handlers": ["console"], "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": PROCESSORS,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    add_process,
                    structlog.processors.JSONRenderer(),
                ],
            }
        },
        "handlers": {
            "console": {"class": "receiver.log_writer.StdoutHandler", "formatter": "json"}
        },
        "root": {"handlers": ["console"], "level": "INFO"},
        "loggers": {
            # RQ logs every job at INFO; a drain logs itself where it did something.
            "rq": {"level": "WARNING", **to_stdout},
            "alembic": {"level": "WARNING"},
            # They log every request at INFO, with its URL.
            "httpx": {"level": "WARNING"},
            "httpcore": {"level": "WARNING"},
            "gunicorn.error": {"level": "INFO", **to_stdout},
            "gunicorn.access": {"level": "WARNING", **to_stdout},
        },
    }


def exception_fields(error: BaseException) -> dict[str, str]:
    """Return the log fields of an exception: its class and place. Its text may quote a row."""
    frames = traceback.extract_tb(error.__traceback__)
    # Ours may be installed beside the libraries.
    ours = [frame for frame in frames if frame.filename.startswith(OUR_FILES)] or list(frames)
    where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
    sqlstate = getattr(getattr(error, "orig", None), "sqlstate", None)
    fields = {"error": type(error).__name__, "where": where}
    return fields | ({"sqlstate": sqlstate} if sqlstate else {})


def exception_frames(error: BaseException) -> list[str]:
    """Return where an exception came through, outermost first, as "file:line function"."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
