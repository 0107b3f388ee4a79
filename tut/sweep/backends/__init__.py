"""The ways to have stages trained: the devices of this machine, or SLURM."""
