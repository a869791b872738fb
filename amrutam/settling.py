"""What a process does once it has started and before it serves."""

import gc


def settle() -> None:
    """Leave what was made so far out of garbage collection: it stays until the end.

    Else a full collection walks every module, model and template again, some 60 ms in which nobody is answered.
    """
    gc.collect()
    gc.freeze()
