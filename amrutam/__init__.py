"""What the API and the worker share: rules, storage, gateways and the ways to reach the servers."""

__version__ = "0.1.0"
