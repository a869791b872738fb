"""The outside world behind Protocols: mail today."""
