"""A payment gateway that takes no money: for demos and tests, on one machine, with what makes real ones difficult.

It is a server of its own with a memory of its own, and knows of Amrutam what any gateway knows: a key, the orders that
it is given and where it tells what happened. `python -m sandbox` runs it.
"""
