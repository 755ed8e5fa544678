"""Where handlers run: threads, an event loop, processes, or an executor of the caller."""
