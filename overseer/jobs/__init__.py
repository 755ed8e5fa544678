"""Jobs as facts: their statuses, graphs, transactions, leases and queues."""
