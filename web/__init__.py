"""HTTP: parse, authorise, call, answer."""
