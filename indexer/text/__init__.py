"""Bytes to text, language and chunks."""
