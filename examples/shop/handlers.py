"""The jobs of the shop: mails that sometimes fail, charges one at a time, refunds that ask a person, reports, and a load."""

from __future__ import annotations

import logging
import random
import time

import overseer
from overseer import Job

app = overseer.App()
log = logging.getLogger("shop")


@app.job(type="mail/send", queue="mail", retry=overseer.Retry(max_attempts=3))
def send(job: Job, to: str, subject: str = "Your order") -> None:
    """Send a mail; one in twelve fails, and is retried."""
    time.sleep(random.uniform(0.1, 0.8))
    if random.random() < 1 / 12:
        raise ConnectionError(f"the mail server closed the connection while it received the mail for {to}")


@app.job(type="card/charge", queue="bank", timeout="20s")
def charge(job: Job, order: int, cents: int) -> str:
    """Charge a card; some cards are declined."""
    log.info("charge %d cents for order %d", cents, order)
    time.sleep(random.uniform(0.3, 1.5))
    if cents % 13 == 0:
        raise ValueError(f"the card of order {order} was declined")
    return f"receipt {order}-{cents}"


@app.job(type="card/refund")
def refund(job: Job, order: int) -> str:
    """Refund an order, if a person agrees."""
    answer = job.ask(f"Refund order {order}?", ["yes", "no"], within="1d")
    return f"refunded: {answer}"


@app.job(type="stock/load")
def load(job: Job, warehouse: str) -> None:
    """Load the stock of a warehouse, file by file."""
    for n in range(8):
        job.progress(n, 8, f"files of {warehouse}")
        time.sleep(random.uniform(0.2, 0.9))


@app.job(type="stock/sum")
def total(job: Job) -> int:
    """Add the stock of all warehouses."""
    time.sleep(random.uniform(0.5, 1.5))
    return random.randrange(1000, 9000)


@app.job(type="report/build")
def report(job: Job, month: int) -> None:
    """Build the report of a month; there are no rows for some months."""
    log.info("reading the rows of month %d", month)
    time.sleep(random.uniform(1, 3))
    if month % 5 == 0:
        raise LookupError(f"there are no rows for month {month}")
