"""The stages of a project's image: when each is up to date, and what it runs."""
