"""A child process of a worker: it answers calls until it receives END, or until its worker has ended.

It does not keep the worker's signal handlers, log handlers and process group, so processes and threads that a handler
starts behave as in any other program. The worker writes its log records.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import socket
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from threading import Lock, Thread
from typing import Any, Final, NamedTuple

from overseer.handler import RemoteError
from overseer.worker.pools.channel import Channel, Gone, wait_for_end
from overseer.worker.pools.signals import forget_handlers

# The kinds of messages to and from the child.
CALL: Final = b"C"
CALL_AND_TELL: Final = b"T"  # a call of which the child reports the beginning
END: Final = b"E"
BEGAN: Final = b"B"
LOG: Final = b"L"
ANSWER: Final = b"A"

_MOST_KEPT: Final = 1000  # records that are kept between two calls


class LogLevels(NamedTuple):
    """The levels of the worker's loggers, so that a child process sends only records that will be written."""

    by_logger: Mapping[str, int]
    disabled: int

    @classmethod
    def here(cls) -> LogLevels:
        """Return the levels of this process."""
        root = logging.getLogger()
        loggers = [logger for logger in root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
        return cls(
            {"": root.level, **{logger.name: logger.level for logger in loggers if logger.level}}, root.manager.disable
        )


def serve(end: socket.socket, worker: int, levels: LogLevels) -> None:
    """Answer calls. This is the main function of the process.

    Args:
        end: the end of the channel to the worker.
        worker: the process of the worker.
    """
    _stand_alone()
    channel = Channel(end, worker, _worker_lives)
    logs = _set_up_logs(channel, levels)
    Thread(target=_end_with_worker, args=(worker,), name="overseer-orphan", daemon=True).start()
    try:
        while (message := channel.receive())[0] != END:
            logs.begin(tells=message[0] == CALL_AND_TELL)
            logs.end(_answer_to(message[1]))
    except Gone:
        _end_group()


def _stand_alone() -> None:
    # It is a daemon so that it ends with the worker. But a daemon may not have child processes, and a handler may.
    multiprocessing.current_process().daemon = False
    if hasattr(os, "setpgid"):
        with suppress(OSError):  # it is a session leader
            os.setpgid(0, 0)  # only the worker receives a terminal's signals, and the children of a handler end with it
    forget_handlers()


def _worker_lives() -> bool:
    worker = multiprocessing.parent_process()
    return worker is not None and worker.is_alive()


def _end_with_worker(worker: int) -> None:
    """End this process when its worker has ended, even during a call: another worker will get the job."""
    wait_for_end(worker, _worker_lives)
    _end_group()


def _end_group() -> None:
    """End this process, and the processes that its handlers have started."""
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _answer_to(call: bytes) -> bytes:
    try:
        function, arguments, words = pickle.loads(call)
        return pickle.dumps((True, function(*arguments, **words)))
    except BaseException as error:
        return _packed(error)


def _packed(error: BaseException) -> bytes:
    try:
        packed = pickle.dumps((False, error))
        pickle.loads(packed)
    except Exception:
        return pickle.dumps((False, RemoteError.of(error)))
    return packed


class _ToWorker(logging.Handler):
    """Sends log records to the worker, with their job. Between two calls they are kept until the next call."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel
        self._process = os.getpid()
        self._sending = Lock()  # guards the attributes below
        self._is_read = False  # whether the worker waits for an answer
        self._kept: deque[bytes] = deque(maxlen=_MOST_KEPT)

    def begin(self, *, tells: bool) -> None:
        """Send records from now on, because a call begins; with `tells`, also report the beginning."""
        with self._sending:
            if tells:
                self._channel.send(BEGAN)
            self._is_read = True
            while self._kept:
                self._channel.send(LOG, self._kept.popleft())

    def end(self, answer: bytes) -> None:
        """Send the answer to the call. After it, the worker does not read."""
        with self._sending:
            self._is_read = False
            self._channel.send(ANSWER, answer)

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record."""
        if os.getpid() != self._process:  # a process that a handler has forked must not use the channel
            if logging.lastResort is not None and record.levelno >= logging.lastResort.level:
                logging.lastResort.emit(record)
            return
        try:
            packed = _packed_record(record)
            with self._sending:
                if self._is_read:
                    self._channel.send(LOG, packed)
                else:
                    self._kept.append(packed)
        except Gone:
            _end_group()
        except Exception:
            self.handleError(record)


def _packed_record(record: logging.LogRecord) -> bytes:
    """Return a record as bytes: message and traceback as text, and the repr of values that cannot be pickled."""
    parts = {**vars(record), "msg": record.getMessage(), "args": None, "exc_info": None}
    if record.exc_info and not record.exc_text:
        parts["exc_text"] = logging.Formatter().formatException(record.exc_info)
    try:
        return pickle.dumps(parts)
    except Exception:
        return pickle.dumps({key: value if _can_be_sent(value) else repr(value) for key, value in parts.items()})


def _can_be_sent(value: Any) -> bool:
    try:
        pickle.dumps(value)
    except Exception:
        return False
    return True


def _set_up_logs(channel: Channel, levels: LogLevels) -> _ToWorker:
    """Send all records to the worker, which has the log handlers."""
    from overseer.listeners.logs import JobContext

    root = logging.getLogger()
    for logger in root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.handlers.clear()
            logger.propagate = True
    handler = _ToWorker(channel)
    handler.addFilter(JobContext())
    root.handlers[:] = [handler]
    for name, level in levels.by_logger.items():
        logging.getLogger(name).setLevel(level)
    logging.disable(levels.disabled)
    return handler


def log_here(packed: bytes) -> None:
    """Let this process's loggers handle a record of a child process."""
    record = logging.makeLogRecord(pickle.loads(packed))
    logging.getLogger(record.name).handle(record)
