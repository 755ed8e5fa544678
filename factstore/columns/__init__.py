"""Columns: rows of facts as arrays, in memory and as bytes. The log and the index are both made of them."""
