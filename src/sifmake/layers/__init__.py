"""From a layer's compressed tar stream to a layer pack, in one pass."""
