"""Signing and verifying SIF files, and the keys for it."""
