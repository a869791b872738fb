"""The servers that Amrutam runs on when no real one is named: started, watched and stopped from Python.

`servers.Servers` starts them for `make up` and for the tests alike; `up` is the story of `make up`.
"""
