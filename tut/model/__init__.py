"""Networks, how they compute, and their loss."""
