"""SQL as typed functions that are given their connection, and the two things around it: cache and lock."""
