"""The API without authentication, limits and audit: what those cost is the difference. `python -m bench.unguarded`.

It runs with the environment of the API, on loopback. Only public answers are asked of it.
"""

from dataclasses import replace

from amrutam.domain.wallclock import use_pinned_tzdata
from amrutam.leaving import leave
from amrutam.preflight import load
from amrutam.telemetry import configure_logging
from web.__main__ import BoundedProtocol
from web.app import create_app
from web.doctor import doctors
from web.quotas import NOTHING


def main() -> None:
    """Serve until SIGTERM."""
    use_pinned_tzdata()
    configure_logging("bench")
    settings, keyring = load()
    doctors.routes[:] = [replace(route, limit=NOTHING) for route in doctors.routes]
    app = create_app(settings, keyring)
    app.run(
        host=settings.host,
        port=settings.port,
        protocol=BoundedProtocol,
        single_process=True,
        access_log=False,
        motd=False,
    )


if __name__ == "__main__":
    main()
    leave(0)
