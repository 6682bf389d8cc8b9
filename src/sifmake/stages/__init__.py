"""The stages of an image: when each is up to date, and what it does."""
