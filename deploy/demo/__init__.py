"""The demonstration: a small base model of our own and example domains."""
