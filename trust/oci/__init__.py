"""Images, names, stores and registries (OCI and Docker v2). Knows no trust."""
