"""Merging adapter versions: what they change in their base, added up and written as one adapter."""
