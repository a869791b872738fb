"""Messages, states and rules. Nothing here reads a clock, makes an id or talks to a server."""
