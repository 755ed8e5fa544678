"""How much work a worker takes: how many jobs it claims together."""
