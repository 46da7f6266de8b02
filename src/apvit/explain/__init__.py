"""Why: which patches and tokens pooling kept, and what spoke for an expression."""
