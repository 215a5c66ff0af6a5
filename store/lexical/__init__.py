"""Text to weighted words, for the lexical half of a search."""
