"""Talking to container registries (OCI distribution spec)."""
