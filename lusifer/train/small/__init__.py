"""Training of lusifer-small: an encoder taught to stand, for every language, in its own English space."""
