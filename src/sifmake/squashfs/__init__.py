"""Writing squashfs 4.0."""
