"""From a question to a result object: the same for the page, the API and the command line."""
