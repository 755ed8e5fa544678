"""Values: the types of `v` of a datom, exact comparison, and values as text."""
