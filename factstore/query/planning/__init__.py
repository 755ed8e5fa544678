"""Planning: which clause a query takes next."""
