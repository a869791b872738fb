"""How a process that used the Temporal SDK ends."""

import logging
import os
import sys
from typing import NoReturn


def leave(status: int) -> NoReturn:
    """End now with `status`, when everything is closed and nothing is left to do but to go.

    The SDK's own threads outlive its clients and may reach for the interpreter while it is being taken down, which
    aborts the process (status 134) about once in ten times. So the interpreter is not taken down.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
