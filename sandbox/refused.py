"""How the gateway says no."""


class Refused(Exception):
    """What was asked for cannot be: an HTTP status and the code that programs read."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
