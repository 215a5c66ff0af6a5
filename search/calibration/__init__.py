"""Fitting what a search does with a model: how words weigh against vectors, and what a score means.

Needs a model and questions with known answers; nothing here is needed to search.
"""
