"""Built-in functions, predicates and aggregates, on single values and on columns."""
