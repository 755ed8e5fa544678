"""Analysis of a query before it runs: which variables are bound, and which rules recurse."""
