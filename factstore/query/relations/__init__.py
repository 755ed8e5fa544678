"""Relations and their algebra: joins, sorting, and arrays as hash tables."""
