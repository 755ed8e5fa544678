"""Typed jobs that tests import, also from other processes."""

from __future__ import annotations

from dataclasses import dataclass

import overseer
from overseer import Facts, Job

app = overseer.App()


@dataclass(frozen=True)
class Receipt:
    order: int
    lines: list[str]


@app.job(queue="money", timeout="30s")
def pay(job: Job, order: int, lines: list[str]) -> Receipt:
    return Receipt(order, lines)


@app.job()
async def pack(job: Job, order: int) -> str:
    return f"box {order}"


@app.job(retry=overseer.Retry(max_attempts=2))
def ship(job: Job, order: int, express: bool = False) -> Facts:
    receipt = pay.result_in(job)
    return [{":order/number": str(receipt.order), ":order/total": len(receipt.lines) + express}]


@app.job(type="mail/send")
def send(job: Job, to: str, cc: set[str] | None = None, *, subject: str = "hello") -> None:
    if to == "nobody":
        raise ValueError("no such address")
