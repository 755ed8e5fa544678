"""A store as tools of the Model Context Protocol, for programs such as assistants. It needs `factstore[mcp]`.

    call ──► arguments (checked by the annotations of the tool) ──► the tool, on a thread ──► answer (JSON, limited)

A tool is a plain function of a `Session` and of its arguments; its docstring is its description, and its annotations
are its schema. Other packages add tools by an entry point of the group `factstore.mcp`, which names a module with two
lists, `READS` and `WRITES`.
Laws: a tool of `READS` changes nothing. No tool erases facts. Every answer is limited in rows, bytes and time.
"""

from __future__ import annotations

from factstore.mcp.session import Limits, Session
from factstore.mcp.tools import Tool

__all__ = ["Limits", "Session", "Tool"]
