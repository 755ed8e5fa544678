"""The page that erases an entity for good: the number of its facts is shown first, and must be typed."""

from __future__ import annotations

from factstore.console.facts import name_of
from factstore.console.page import BY, Answer, PageRequest, Redirect
from factstore.console.writing import declare
from factstore.datom import tx_of
from factstore.errors import TransactError


def erase(request: PageRequest) -> Answer | Redirect:
    """Show what would be erased; erase it if the form has the number of facts."""
    request.check_writable()
    eid = request.parts["eid"]
    own, references = counted(request, eid)
    count = own + references
    if request.form is None:
        name = name_of(request.newest, eid)
        return Answer("erase.html", {"eid": eid, "name": name, "own": own, "references": references, "count": count})
    if request.form.get("count", "").strip() != str(count) or not count:
        message = f"type the number of facts, {count}, to erase them; nothing was erased"
        raise TransactError(":db.error/requirement-failed", message, count=count)
    declare(request)
    erased = request.conn.excise(eid)
    request.conn.transact([{":db/id": tx_of(erased.t), BY: request.who}])
    return Redirect(f"/transactions/{erased.t}", {"t": "", "from": ""})


def counted(request: PageRequest, eid: int) -> tuple[int, int]:
    """Return the numbers of assertions and retractions about an entity and its components, and of references to it."""
    past, seen, waiting, own = request.conn.db().history(), set[int](), [eid], 0
    while waiting:
        each = waiting.pop()
        if each not in seen:
            seen.add(each)
            for datom in past.datoms("eavt", each):
                own += 1
                if past.schema.attribute(datom.a).is_component:
                    waiting.append(datom.v)
    references = sum(1 for each in seen for datom in past.datoms("vaet", each) if datom.e not in seen)
    return own, references
