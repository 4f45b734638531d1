"""Checks of the code itself: sizes, and what the documentation says about it."""
