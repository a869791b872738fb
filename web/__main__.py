"""`python -m web`: the API, one process and one event loop. More of it is more processes behind one balancer."""

import sys
import time
from typing import Any, cast

from sanic.http import Stage
from sanic.server import HttpProtocol

from amrutam.domain.wallclock import use_pinned_tzdata
from amrutam.leaving import leave
from amrutam.preflight import load_and_check
from amrutam.settings import SettingsError
from amrutam.storage.pool import DatabaseUnavailable
from amrutam.telemetry import configure_logging
from amrutam.temporal import forward_core_logs
from web.app import create_app


class BoundedProtocol(HttpProtocol):
    """Gives headers, and what is left of a body after its refusal, the time of one request.

    Sanic counts that time from the last byte, so that a client who sends a byte now and then is never cut off.
    """

    def data_received(self, data: bytes) -> None:
        """Take what came. The clock goes on where it is to be one request's."""
        since = self._time
        bounded = self._receives_headers() or self._drains_a_body()
        super().data_received(data)
        if bounded:
            self._time = since

    def check_timeouts(self) -> None:
        """Called now and then by Sanic, which gives a body that nobody wants the time of an idle connection."""
        if self._task and self._drains_a_body() and time.monotonic() - self._time > self.request_timeout:
            self._task.cancel()
        else:
            super().check_timeouts()

    def _receives_headers(self) -> bool:
        return self.http is not None and self.http.stage is Stage.REQUEST

    def _drains_a_body(self) -> bool:
        """Whether the answer is sent and the body has not come whole."""
        http = cast("Any", self.http)  # before its first byte it has no attribute for a body
        return http is not None and http.stage is Stage.IDLE and bool(getattr(http, "request_body", None))


def main() -> int:
    """Serve until SIGTERM or SIGINT.

    Exit status 0 for an orderly stop, 1 when the database is away, 2 for settings that do not fit.
    """
    use_pinned_tzdata()
    configure_logging("web")
    forward_core_logs()
    try:
        settings, keyring = load_and_check()
    except SettingsError as error:
        sys.stderr.write(f"amrutam web cannot start:\n{error}\n")
        return 2
    except DatabaseUnavailable as error:
        sys.stderr.write(f"amrutam web cannot start: PostgreSQL is away ({error})\n")
        return 1
    app = create_app(settings, keyring)
    app.run(
        host=settings.host,
        port=settings.port,
        protocol=BoundedProtocol,
        single_process=True,
        access_log=False,
        motd=False,
    )
    return 0


if __name__ == "__main__":
    leave(main())
