"""Model folders, read and written: our own format and the published one."""
