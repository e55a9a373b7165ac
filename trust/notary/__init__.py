"""The older dialect, Docker Content Trust and Notary v1: all of it here and nowhere else."""
