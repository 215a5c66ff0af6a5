"""Training of lusifer-small: a contextual encoder taught to stand, for every language, in its own English space."""
