"""A function for queries that takes until it is interrupted."""

from threading import Event

import factstore


@factstore.register("tests/wait")
def wait(word: str) -> None:
    print(f"the function has {word}", flush=True)
    Event().wait()
