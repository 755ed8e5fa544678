"""The sign-in of a console that one person opens: a link that works once, exchanged for a cookie; and a bearer token.

link with a token ──► the token is used up ──► cookie HttpOnly, SameSite=Strict ──► every later request
"""

from __future__ import annotations

from getpass import getuser
from secrets import compare_digest, token_urlsafe
from threading import Lock
from typing import Final

from starlette.requests import Request

from factstore.values.process_bound import ProcessBound

_SECRET_BYTES: Final = 32


class OneTimeLink(ProcessBound):
    """Who may use a console: the first browser that opens its link, and programs that send the bearer token."""

    _instead = "a link works once, in one console; make another link there"

    def __init__(self, *, name: str | None = None, bearer: str | None = None) -> None:
        """Make a link.

        Args:
            name: the name of the person, which every transaction of the console states; None: that of the account.
            bearer: a token that programs send as `Authorization: Bearer …`; None: no program signs in.
        """
        self.name = _account() if name is None else name
        self.token = token_urlsafe(_SECRET_BYTES)
        self.cookie = f"factstore-{token_urlsafe(6)}"  # cookies do not distinguish ports: each console has its own name
        self._session = token_urlsafe(_SECRET_BYTES)
        self._bearer = bearer
        self._is_used = False
        self._lock = Lock()

    def __call__(self, request: Request) -> str | None:
        """Return the name of the person who sent a request; None: unknown."""
        if _same(request.cookies.get(self.cookie), self._session) or self.is_bearer(request):
            return self.name
        return None

    def is_bearer(self, request: Request) -> bool:
        """Tell whether a request has the bearer token, which no other page can add to a request."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        return self._bearer is not None and kind.lower() == "bearer" and _same(token, self._bearer)

    def exchanged(self, token: str) -> str | None:
        """Return the value of the cookie for the token of the link, once; None for another token."""
        with self._lock:
            if self._is_used or not _same(token, self.token):
                return None
            self._is_used = True
            return self._session


def _same(given: str | None, secret: str) -> bool:
    return given is not None and compare_digest(given.encode(), secret.encode())


def _account() -> str:
    try:
        return getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return "console"
