"""Tables to load: batches of columns, conversion of texts to values, and of values to stored values."""
