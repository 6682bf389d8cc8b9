"""The content-addressed store that many processes and hosts share."""
