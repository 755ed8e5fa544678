"""Planning: chooses the next clause of a query."""
