"""Documents in: walk folders, extract text, detect language, chunk, embed, store, and remember what was done.

``pipeline.Indexer`` is the way in. Uses ``lusifer`` for vectors and ``store`` for keeping them.
"""
