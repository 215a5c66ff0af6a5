"""One module for each command of ``lusifer`` that belongs to the application."""
