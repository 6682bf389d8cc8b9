"""Reading and writing SIF files."""
