"""Durable stories, one a feature."""
