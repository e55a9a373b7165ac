"""Private keys on this machine and what signs with them. Knows no registry."""
