"""A store as one file, taken while it is served, and put back."""
