"""What can go wrong with a part, in words for the person at the terminal."""


class StackError(Exception):
    """A part could not be started, or ended by itself. The message says which one and what to do."""
