"""Layer packs in registries and on web servers, as a level below the stores on disk."""
