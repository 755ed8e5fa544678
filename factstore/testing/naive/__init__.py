"""Naive models: the simplest code that can be right, to compare the store with.

list_forms.py      tx-data as list forms only
transactions.py    the facts after a transaction, as a set
queries.py         the answer of a query, by nested loops
"""
