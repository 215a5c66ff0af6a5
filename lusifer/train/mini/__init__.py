"""Training of the shipped token table, lusifer-mini."""
