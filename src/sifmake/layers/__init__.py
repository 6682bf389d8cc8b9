"""Turn a layer's compressed tar stream into a layer pack, in one pass."""
