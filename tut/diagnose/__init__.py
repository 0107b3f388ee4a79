"""What tying does to the two matrices, and untying after it, from the checkpoints of a sweep."""
