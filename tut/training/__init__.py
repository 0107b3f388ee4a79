"""One run: what decides it, its state, its steps, its checkpoints, and how it goes on."""
