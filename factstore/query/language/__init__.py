"""The query language: from EDN text or Python data to the typed form of a query."""
