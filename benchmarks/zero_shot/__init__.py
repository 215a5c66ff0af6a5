"""The zero-shot experiment: a multilingual token table, an English model, a connector learnt in English."""
