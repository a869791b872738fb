"""Tests are sentences, with real parts."""
