"""Names of images: the grammar of references and its defaults."""
