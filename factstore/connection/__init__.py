"""The connection and its methods: transactions, the log, reports, loading, excision."""
