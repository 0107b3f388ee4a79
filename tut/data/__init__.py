"""From text to batches: sources, tokenizer, corpus on disk, what is predicted."""
