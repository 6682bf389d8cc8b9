"""Running programs in SIF files."""
