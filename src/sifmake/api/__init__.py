"""The public Python API; its names are to be imported from :mod:`sifmake`."""
