"""EDN (extensible data notation): conversion of text to values, and of values to text.

| text | value | | text | value |
| --- | --- | --- | --- | --- |
| `nil true false` | None, bool | | `( )` | tuple |
| `1 1N` | int | | `[ ]` | list |
| `1.0` / `1.0M` | float / Decimal | | `{ }` | dict |
| `"a"`, `\\a` | str | | `#{ }` | frozenset |
| `:a/b` | Keyword | | `#inst` `#uuid` | aware datetime, UUID |
| `?a` | Symbol | | `#uri` `#base64` | Uri, bytes |
| `#symbol "true"` | Symbol | | | |

Inside a set or a map's key, a vector is read as a tuple and a map as a pmap, because Python must hash them.
`#symbol` is for symbols whose name would be read as something else.

Law: `read(write(x)) == x` with equal types; an invalid text raises a `ReadError` with the line and column of the error.
"""

from __future__ import annotations

from factstore.edn.places import place_of
from factstore.edn.read import read, read_all
from factstore.edn.write import write

__all__ = ["place_of", "read", "read_all", "write"]
