"""Training: the recipe of the shipped model, from text to weights. Nothing here is needed to search."""
