"""Sources of a query: databases, collections, and the values of inputs."""
