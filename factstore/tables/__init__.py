"""Tables as they are loaded: batches of columns, texts as values, cells by attribute."""
