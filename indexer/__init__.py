"""Documents in: walk folders, extract text, detect language, chunk, embed, store, and remember what was done.

Uses ``lusifer`` for vectors and ``store`` for keeping them. Must not know HTTP nor the search pages.
"""
