"""`python -m sandbox`: the gateway, one process on 127.0.0.1."""

import logging
import os
import sys

from pydantic import ValidationError

from sandbox.app import create_app
from sandbox.settings import HOST, PREFIX, Settings


def main() -> int:
    """Serve until SIGTERM or SIGINT.

    Exit status 0 for an orderly stop, 1 when it cannot go on, 2 for settings that do not fit.
    """
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.ERROR)
    try:
        settings = Settings.from_environment(os.environ)
    except ValidationError as error:
        faults = (f"{PREFIX}{str(each['loc'][0]).upper()}: {each['msg']}\n" for each in error.errors())
        sys.stderr.write(f"the payment sandbox cannot start:\n{''.join(faults)}")
        return 2
    app = create_app(settings)
    app.run(host=HOST, port=settings.port, single_process=True, access_log=False, motd=False)
    return int(getattr(app.ctx, "failed", False))


if __name__ == "__main__":
    sys.exit(main())
