"""Speed, always as a ratio: ours and its peer side by side in one run."""
