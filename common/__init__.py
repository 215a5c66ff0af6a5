"""What every package may use: the base of errors, files that are locked or replaced, settings."""
