"""The connection and what it offers: transactions, the log, reports, loading, excision."""
