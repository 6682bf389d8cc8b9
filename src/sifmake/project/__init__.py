"""The declarations of a project: configuration, images, locks, records, keys and the table of stages."""
