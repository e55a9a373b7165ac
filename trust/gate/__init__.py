"""The release gate: which images a release would run, and whether a policy lets them pass."""
