"""Histories that every later version of the workflows must go through the same way."""
