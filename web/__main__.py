"""`python -m web`: the API, one process and one event loop. More of it is more processes behind one balancer."""

import sys

from amrutam.domain.wallclock import use_pinned_tzdata
from amrutam.leaving import leave
from amrutam.preflight import load
from amrutam.settings import SettingsError
from amrutam.telemetry import configure_logging
from web.app import create_app


def main() -> int:
    """Serve until SIGTERM or SIGINT. Exit status 0 for an orderly stop, 2 for settings that do not fit."""
    use_pinned_tzdata()
    configure_logging("web")
    try:
        settings, keyring = load()
    except SettingsError as error:
        sys.stderr.write(f"amrutam web cannot start:\n{error}\n")
        return 2
    app = create_app(settings, keyring)
    app.run(host=settings.host, port=settings.port, single_process=True, access_log=False, motd=False)
    return 0


if __name__ == "__main__":
    leave(main())
