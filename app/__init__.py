"""Search out: the web application, its JSON API and pages, and the `lusifer` command line."""
