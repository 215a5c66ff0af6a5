"""The process that owns an embedded store, and how to reach it."""
