"""The people data that databases of this kind are compared on: 20,000 entities of five attributes, seeded."""

from __future__ import annotations

import random

NAMES = ["Ivan", "Petr", "Sergei", "Oleg", "Yuri", "Dmitry", "Fedor", "Denis", "Anna", "Olga"]
LASTS = ["Ivanov", "Petrov", "Sidorov", "Kovalev", "Kuznetsov", "Voronoi"]
SEXES = ["male", "female"]
COLUMNS = ("name", "last", "sex", "age", "salary")
TYPES = ("string", "string", "string", "long", "long")
ATTRIBUTES = tuple(f":{column}" for column in COLUMNS)
SCHEMA = [
    {":db/ident": attribute, ":db/valueType": f":db.type/{kind}", ":db/cardinality": ":db.cardinality/one"}
    for attribute, kind in zip(ATTRIBUTES, TYPES, strict=True)
]


def people(n: int = 20_000, seed: int = 42) -> list[tuple[str, str, str, int, int]]:
    """Return n people."""
    r = random.Random(seed)
    return [
        (r.choice(NAMES), r.choice(LASTS), r.choice(SEXES), r.randrange(100), r.randrange(100_000)) for _ in range(n)
    ]
