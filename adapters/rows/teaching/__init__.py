"""Rows from a teacher: answers and whole examples by any OpenAI-compatible endpoint, kept apart."""
