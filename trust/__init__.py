"""dockseal: content trust for container images, in the registry that is there."""
