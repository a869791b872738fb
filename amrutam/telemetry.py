"""Logs, metrics and the operator's own HTTP port.

Logs are JSON lines outside a terminal. They carry request and trace ids, never a body, a query string, an address or a
name: what is logged is chosen field by field. Metrics carry no ids in their labels.
"""

import asyncio
import json
import logging
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any, TextIO, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest
from pydantic_core import to_json

from amrutam.lines import Lines, json_line

_OURS = frozenset({"amrutam", "activities", "workflows", "web"})
_MOST_CAUSES = 10
_MOST_FRAMES = 30
_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10)

HTTP_SECONDS = Histogram(
    "amrutam_http_request_seconds", "Time to answer a request", ["method", "route", "status"], buckets=_FAST
)
HTTP_ERRORS = Counter("amrutam_http_errors_total", "Requests answered with 5xx", ["route", "code"])
HTTP_IN_FLIGHT = Gauge("amrutam_http_in_flight", "Requests being handled now")
DB_ACQUIRE_SECONDS = Histogram("amrutam_db_acquire_seconds", "Wait for a database connection", buckets=_FAST)
DB_IN_USE = Gauge("amrutam_db_connections_in_use", "Database connections lent out now")
NODE_READS = Counter("amrutam_node_reads_total", "Reads that may go to a replica, by where they went", ["node"])
REPLICA_LAG_SECONDS = Gauge("amrutam_replica_lag_seconds", "How far a replica is behind the primary", ["replica"])
REPLICA_LAG_BYTES = Gauge(
    "amrutam_replica_lag_bytes", "What a replica has not replayed yet of the primary's log", ["replica"]
)
REPLICA_SERVES = Gauge("amrutam_replica_serves", "1: a replica that is heard and may be read, 0: left out", ["replica"])
REPLICA_FAILURES = Counter(
    "amrutam_replica_failures_total", "Reads that a replica failed, and the primary did", ["replica"]
)
CACHE_READS = Counter("amrutam_cache_reads_total", "Cache look-ups", ["cache", "result"])
CACHE_FILLS = Counter("amrutam_cache_fills_total", "Cache fills", ["cache", "result"])
LOCK_SECONDS = Histogram("amrutam_lock_wait_seconds", "Wait for a Redis lock", ["result"], buckets=_FAST)
BOOKINGS = Counter("amrutam_bookings_total", "Bookings that changed state, or were refused", ["outcome"])
RELAY_LAG_SECONDS = Gauge(
    "amrutam_relay_lag_seconds", "Age of the oldest event that a consumer has not handled", ["consumer"]
)
FREE_TIMES_OVERDUE_SECONDS = Gauge(
    "amrutam_free_times_overdue_seconds", "For how long the doctor has been due whose free times are the most behind"
)
AUDIT_UNSEALED_SECONDS = Gauge("amrutam_audit_unsealed_seconds", "Age of the oldest audit row without a seal")
SEAL_ERRORS = Counter("amrutam_seal_errors_total", "Sealed values that did not open", ["what"])
LIMITED = Counter("amrutam_limited_total", "Requests refused by a limit: of a user, an address, or guessing", ["limit"])
LOCAL_LIMITS = Counter("amrutam_local_limits_total", "Limits kept by this process alone, as Redis was away")
PAYMENTS = Counter(
    "amrutam_payments_total", "Checkouts that were opened, and charges that were captured", ["gateway", "outcome"]
)
REFUNDS_FAILED = Counter(
    "amrutam_refunds_failed_total", "Refunds that a gateway refused: support is to see to them", ["gateway"]
)
WEBHOOKS = Counter("amrutam_webhooks_total", "What gateways told", ["gateway", "outcome"])
CHARGES_UNKNOWN = Counter(
    "amrutam_charges_unknown_total",
    "Charges that a sweep found at a gateway before anything else told of them",
    ["gateway"],
)
MAILS = Counter("amrutam_mails_total", "Mails handed to the mail server", ["template", "result"])


class RequestLog:
    """The line that every request writes: as JSON it goes past structlog, which would take longer than the rest."""

    def __init__(self) -> None:
        self._lines: Lines | None = None
        self._process = ""

    def use(self, lines: Lines, process: str) -> None:
        """Write there from now on."""
        self._lines, self._process = lines, process

    def write(self, fields: dict[str, Any]) -> None:
        """One line, the request's ids among its fields."""
        if self._lines is None:
            structlog.get_logger().info("http.request", **fields)
        else:
            self._lines.write(json_line("http.request", "info", {**fields, "process": self._process}))


REQUESTS = RequestLog()


def seal_broken(what: str, place: bytes, reason: str) -> None:
    """Alert: a sealed value does not open. Somebody changed or moved it, or this process lacks its key.

    `place` names the row and column that it was bound to, as ids; nothing of the value is told.
    """
    SEAL_ERRORS.labels(what).inc()
    where = place.decode("ascii", "backslashreplace")
    structlog.get_logger().error("seal.broken", what=what, place=where, reason=reason)


def configure_logging(process: str) -> None:
    """Set up structlog: readable in a terminal, JSON elsewhere; the standard library's records go through it."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    lines = Lines(sys.stdout)
    renderer: list[structlog.typing.Processor] = (
        [_discreet_traceback, structlog.dev.ConsoleRenderer()] if lines.isatty() else [_discreet_traceback, _json]
    )
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", lines)),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(lines)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    structlog.contextvars.bind_contextvars(process=process)
    if not lines.isatty():
        REQUESTS.use(lines, process)


def _json(_logger: Any, _name: str, line: structlog.typing.EventDict) -> str:
    """Every request writes a line: pydantic's serialiser takes a third of the standard library's time."""
    return to_json(line, fallback=repr).decode()


def _discreet_traceback(_logger: Any, _name: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Where it happened and of which kind, for an exception and its causes: file, line and function of each frame.

    Neither local variables nor messages: both may quote a request, a row, an address or a key. Our own exceptions are
    written without such words, so their messages stay.
    """
    given = line.pop("exc_info", None)
    error = sys.exc_info()[1] if given is True else given
    if isinstance(error, tuple):  # as the standard library's records carry it
        error = cast("tuple[Any, BaseException | None, Any]", error)[1]
    if isinstance(error, BaseException):
        line["exception"] = [_told(each) for each in _chain(error)]
    return line


def _chain(error: BaseException) -> list[BaseException]:
    """The exception and what it came from, at most ten."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain and len(chain) < _MOST_CAUSES:
        chain.append(cause)
    return chain


def _told(error: BaseException) -> dict[str, Any]:
    kind = type(error)
    told: dict[str, Any] = {"type": f"{kind.__module__}.{kind.__qualname__}"}
    if kind.__module__.partition(".")[0] in _OURS:
        told["message"] = str(error)
    if sqlstate := getattr(error, "sqlstate", None):
        told["sqlstate"] = sqlstate
    frames = traceback.extract_tb(error.__traceback__)[-_MOST_FRAMES:]
    told["frames"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return told


HealthCheck = Callable[[], Awaitable[dict[str, str]]]
"""Answers each part's state: `ok`, or what is wrong with it."""


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are not worth a line each."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class OperatorPort:
    """`/metrics` and `/health/detail` on a port of their own that is never public, beside the process's event loop."""

    def __init__(self, host: str, port: int, check: HealthCheck) -> None:
        self._check = check
        self._loop = asyncio.get_running_loop()
        self._server = make_server(host, port, self._answer, _Server, _QuietHandler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="operator-port", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and give the port back."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=2)

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                start_response("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
                return [generate_latest()]
            case "/health/detail":
                parts = self._ask()
                healthy = all(state == "ok" for state in parts.values())
                start_response(
                    "200 OK" if healthy else "503 Service Unavailable", [("Content-Type", "application/json")]
                )
                return [json.dumps({"status": "ok" if healthy else "degraded", "parts": parts}).encode()]
            case _:
                start_response("404 Not Found", [("Content-Type", "text/plain")])
                return [b"/metrics or /health/detail\n"]

    def _ask(self) -> dict[str, str]:
        async def check() -> dict[str, str]:
            return await self._check()

        try:
            return asyncio.run_coroutine_threadsafe(check(), self._loop).result(timeout=5)
        except TimeoutError:
            return {"process": "its event loop did not answer within 5 s"}
