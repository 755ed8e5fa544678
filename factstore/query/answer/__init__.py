"""The answer of a query: groups, order, sets of tuples, rows, the cache of answers, and `explain`."""
