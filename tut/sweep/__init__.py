"""Sweeps: every stage that runs share is trained once, here or on SLURM."""
