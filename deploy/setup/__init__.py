"""Putting the product onto an empty machine."""
