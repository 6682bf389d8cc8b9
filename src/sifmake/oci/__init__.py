"""What the OCI image spec defines: digests, descriptors, manifests, configs, platforms."""
