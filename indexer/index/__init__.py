"""The files that are searched: vectors and words, by row number."""
