"""Databases as values, and the datoms that are read from them."""
