"""The PostgreSQL engine: one store for many machines, in tables of one schema."""
