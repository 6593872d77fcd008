"""JSON lines on stdout for every process, without bodies, tokens and personal data."""

import logging
import logging.config
import os
import traceback
from pathlib import Path
from typing import Any

import structlog

ROOT = Path(__file__).resolve().parent.parent
SITE_PACKAGES = f"{os.sep}site-packages{os.sep}"
OUR_FILES = tuple(f"{ROOT / package}{os.sep}" for package in ("receiver", "workers"))

# A recursion without end has a thousand.
MOST_FRAMES = 30

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
    where = _render_place(ours[-1]) if ours else "?"
    sqlstate = getattr(getattr(error, "orig", None), "sqlstate", None)
    fields = {"error": type(error).__name__, "where": where}
    return fields | ({"sqlstate": sqlstate} if sqlstate else {})


def failure_fields(error: BaseException) -> dict[str, Any]:
    """Return the log fields of a failure that somebody has to find the cause of.

    Shape: those of exception_fields, and frames: where it came through, outermost first, as
    "file:line function".
    """
    frames = traceback.extract_tb(error.__traceback__)[-MOST_FRAMES:]
    places = [f"{_render_place(frame)} {frame.name}" for frame in frames]
    return {**exception_fields(error), "frames": places}


def _render_place(frame: traceback.FrameSummary) -> str:
    """Return "file:line"; of a library's file also its package, which may have a name of ours."""
    file = frame.filename
    if file.startswith(OUR_FILES):
        file = str(Path(file).relative_to(ROOT))
    elif SITE_PACKAGES in file:
        file = file.rpartition(SITE_PACKAGES)[2]
    else:
        file = Path(file).name
    return f"{file}:{frame.lineno}"
