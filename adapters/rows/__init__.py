"""Raw examples to training rows: read, checked, cleaned, split, mixed, and accounted for."""
