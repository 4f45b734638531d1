"""The service's log: a line for each event, with the request that it belongs to, and no user text.

Whatever a message holds, it cannot look like another line: in JSON all but plain ASCII is escaped,
and in text every line but the first is indented and every control character escaped.
"""

import json
import logging
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

from service.settings import ServiceSettings

# Of the request that the running task belongs to; empty outside of any.
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
FIELDS = "dslm_fields"


def set_up_logging(settings: ServiceSettings, output: TextIO = sys.stderr) -> None:
    """Ours from INFO on, others' from WARNING on; JSON unless a person sits before it."""
    texts = settings.log_texts
    as_json = settings.log_format == "json"
    if settings.log_format == "auto":
        as_json = not output.isatty()
    handler = logging.StreamHandler(output)
    handler.setFormatter(JsonLines(texts) if as_json else TextLines(texts))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("dslm").setLevel(logging.INFO)


class TextLines(logging.Formatter):
    """For a person: the logger's name and the message. `texts`: see `told`."""

    def __init__(self, texts: bool) -> None:
        super().__init__()
        self._texts = texts

    def format(self, record: logging.LogRecord) -> str:
        said = record.getMessage()
        if record.exc_info and record.exc_info[0]:
            said += "\n" + told(record.exc_info, self._texts)
        lines = [plain(line) for line in said.split("\n")]
        request = REQUEST_ID.get()
        about = f" ({request})" if request else ""
        return f"{record.name}: " + "\n    ".join(lines) + about + _listed(record)


class JsonLines(logging.Formatter):
    """For a machine: one object for each event."""

    def __init__(self, texts: bool) -> None:
        super().__init__()
        self._texts = texts

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request := REQUEST_ID.get():
            event["request_id"] = request
        event |= record.__dict__.get(FIELDS, {})
        if record.exc_info and record.exc_info[0]:
            event["exception"] = told(record.exc_info, self._texts)
        return json.dumps(event, default=str)


def fields(**named: object) -> dict[str, dict[str, object]]:
    """What a JSON line has besides its message: `log.info(..., extra=fields(domain="legal"))`."""
    return {FIELDS: named}


def _listed(record: logging.LogRecord) -> str:
    """The fields in one line; written as JSON, they hold nothing that needs escaping."""
    named = record.__dict__.get(FIELDS)
    return f" {json.dumps(named, default=str)}" if named else ""


def told(failure: Any, texts: bool) -> str:
    """Where it happened. What was said with it may hold a user's words: only with `texts`."""
    kind, error, trace = failure
    if texts:
        return "".join(traceback.format_exception(kind, error, trace))
    where = "".join(traceback.format_tb(trace))
    return f"{where}{kind.__name__} (its message is kept back: DSLM_LOG_TEXTS)"


def plain(line: str) -> str:
    """With every character escaped that a terminal would obey or that ends a line."""
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
