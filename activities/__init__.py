"""The steps of the workflows: borrow a connection, call storage, decide nothing."""
