"""Papers as PDF, typeset in a process of their own: each costs some 60 ms of computing, for which nobody else waits."""

import asyncio
import hashlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import UTC, date
from functools import lru_cache, partial
from typing import Any, NoReturn, TypeVar, cast
from zoneinfo import ZoneInfo

import structlog
from jinja2 import Environment, PackageLoader, StrictUndefined

from amrutam.domain.errors import Unavailable
from amrutam.domain.receipt import INDIA, Receipt, written
from amrutam.domain.wallclock import use_pinned_tzdata, wall_clock

T = TypeVar("T")

# A second of work for the process; who comes later is better told at once.
MOST_WAITING = 16
# Whoever asked has been answered by then. A paper that takes longer is given up together with the process.
MOST_SECONDS = 20
# For archives (ISO 19005-3) and for those who have it read to them: its text is Unicode, its parts are tagged.
VARIANT = "pdf/a-3a"

log = structlog.get_logger()


class PaperPool:
    """Makes papers, one after another. Its process starts with the first of them and ends with `close`."""

    def __init__(self, most_seconds: int = MOST_SECONDS) -> None:
        self._executor: ProcessPoolExecutor | None = None
        self._most_seconds = most_seconds
        self._waiting = 0

    async def receipt(self, receipt: Receipt) -> bytes:
        """The receipt as PDF, the same bytes for the same receipt. Raises Unavailable: too many wait, or it failed."""
        return await self.make(receipt_pdf, receipt)

    async def make(self, work: Callable[..., T], *given: object) -> T:
        """What `work`, a function of a module, returns in the process. Raises Unavailable, and what it raises."""
        if self._waiting >= MOST_WAITING:
            raise Unavailable
        self._executor = executor = self._executor or _executor()
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, _timed, self._most_seconds, work, *given)
        except BrokenProcessPool:  # it was killed, or took too long; the next paper has a new one
            log.error("papers.process_lost")
            if self._executor is executor:
                self._executor = None
            executor.shutdown(wait=False)
            raise Unavailable from None
        except PangoMissing as missing:
            log.error("papers.pango_missing", reason=str(missing))
            raise Unavailable from None
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """End the process, once the paper that it is at is done."""
        executor, self._executor = self._executor, None
        if executor:
            await asyncio.to_thread(executor.shutdown, cancel_futures=True)


class PangoMissing(Exception):
    """The libraries that typeset cannot be loaded; says which, and how to get them."""

    @classmethod
    def because(cls, reason: object) -> "PangoMissing":
        """In words for whoever runs this machine."""
        packages = "libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-noto-core"
        return cls(f"PDF documents need Pango ({reason}). On Debian: sudo apt-get install {packages}")


def receipt_pdf(receipt: Receipt) -> bytes:
    """The receipt as PDF. Raises PangoMissing."""
    template = _templates().get_template("receipt.html")
    html = template.render(
        receipt=receipt,
        issued=receipt.issued_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        issued_on=_day(receipt.issued_at.astimezone(ZoneInfo(INDIA)).date()),
        visit_at=wall_clock(receipt.visit_at, receipt.time_zone),
        money=partial(written, currency=receipt.currency),
        percent=_percent,
        day=_day,
    )
    return typeset(html)


def typeset(html: str) -> bytes:
    """A page as PDF. Raises PangoMissing, and ValueError for one that refers to anything: it is to be one file."""
    try:  # takes a second and 40 MiB, in the process that typesets alone
        import weasyprint  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs]
        from weasyprint import urls  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs]
    except OSError as missing:
        raise PangoMissing.because(missing) from None
    nothing = urls.URLFetcher(allowed_protocols=(), fail_on_errors=True)
    name = hashlib.sha256(html.encode()).hexdigest()[:32]
    try:
        page = weasyprint.HTML(string=html, url_fetcher=nothing)
        return cast("bytes", page.write_pdf(pdf_variant=VARIANT, pdf_tags=True, pdf_identifier=name.encode()))
    except urls.FatalURLFetchingError as refused:
        raise ValueError(f"a paper loads nothing: {refused}") from None


def _percent(permille: int) -> str:
    return f"{permille / 10:g} %"


def _day(day: date) -> str:
    return f"{day:%d %B %Y}"


@lru_cache(maxsize=1)
def _templates() -> Environment:
    return Environment(loader=PackageLoader("amrutam", "templates"), autoescape=True, undefined=StrictUndefined)


def _executor() -> ProcessPoolExecutor:
    """One process, made anew: of a server that has threads and clients no copy can be made."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_begin)


def _begin() -> None:
    """What the process does first. It ends with the server: by being told, or by itself where that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server
    use_pinned_tzdata()
    parent = multiprocessing.parent_process()
    if parent:
        threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent: Any) -> NoReturn:
    parent.join()
    os._exit(1)


def _timed(most_seconds: int, work: Callable[..., T], *given: object) -> T:
    """Do it, or have the system end this process when the time is up, wherever it is."""
    signal.alarm(most_seconds)
    try:
        return work(*given)
    finally:
        signal.alarm(0)
