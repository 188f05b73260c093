"""Structured logs: a line an event, JSON in production."""

import json
import logging
import sys

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger


def configure(log_format: str, level: str) -> None:
    """Sends structlog's and the standard library's records to standard error in one form.

    Args:
        log_format: `json`, `text`, or `auto`: text on a terminal, else JSON.
        level: Least severe level shown, for example `info`.
    """
    text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = (
        [structlog.dev.ConsoleRenderer()] if text else [structlog.processors.format_exc_info, _json]
    )
    # Not by way of the standard library, whose records cost more than all else that is done around a call.
    structlog.configure(
        processors=[*shared, *last],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)


# Made once: json.dumps makes an encoder a call wherever it is given a default.
_encoder = json.JSONEncoder(default=str)


def _json(_logger: WrappedLogger, _level: str, event: EventDict) -> str:
    return _encoder.encode(event)
