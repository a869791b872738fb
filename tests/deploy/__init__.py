"""What runs in containers, as far as it can be held without an engine."""
