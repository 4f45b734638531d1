"""What a question finds in a snapshot."""
