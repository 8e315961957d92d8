"""Which places and pairs of a batch a loss looks at."""
