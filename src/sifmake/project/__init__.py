"""What a project declares: configuration, images, locks, records, keys and the table of stages."""
