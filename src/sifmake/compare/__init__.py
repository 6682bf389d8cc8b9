"""What a SIF file contains, in one digest, and what differs between two."""
