"""`python -m web`: the API, one process and one event loop. More of it is more processes behind one balancer."""

import asyncio
import sys

from amrutam.domain.wallclock import use_pinned_tzdata
from amrutam.leaving import leave
from amrutam.preflight import check, load
from amrutam.settings import SettingsError
from amrutam.storage.pool import DatabaseUnavailable
from amrutam.telemetry import configure_logging
from amrutam.temporal import forward_core_logs
from web.app import create_app


def main() -> int:
    """Serve until SIGTERM or SIGINT.

    Exit status 0 for an orderly stop, 1 when the database is away, 2 for settings that do not fit.
    """
    use_pinned_tzdata()
    configure_logging("web")
    forward_core_logs()
    try:
        settings, keyring = load()
        asyncio.run(check(settings))
    except SettingsError as error:
        sys.stderr.write(f"amrutam web cannot start:\n{error}\n")
        return 2
    except DatabaseUnavailable as error:
        sys.stderr.write(f"amrutam web cannot start: PostgreSQL is away ({error})\n")
        return 1
    app = create_app(settings, keyring)
    app.run(host=settings.host, port=settings.port, single_process=True, access_log=False, motd=False)
    return 0


if __name__ == "__main__":
    leave(main())
