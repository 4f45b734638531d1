"""What an answer is worth: numbers, labels and texts compared with what was expected. Pure."""
