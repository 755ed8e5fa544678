"""Stopping a process that shares a store, at a moment at which the others can go on."""

from __future__ import annotations

import os
import signal

from factstore import Connection


def stop(conn: Connection, pid: int) -> None:
    """Stop a child of this process while it commits nothing.

    A process that is stopped within a commit holds the lock of LMDB until it is continued or killed, so a test that waits for a commit of
    another process would wait without end.
    """
    with conn.transaction():  # meanwhile, no other process commits
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED)  # a signal takes effect a moment after it was sent
