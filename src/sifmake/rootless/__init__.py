"""Running the scripts of definition files as root, by anyone, and reading what they changed as a layer.

Callers need ``request`` (what is asked for), ``modes`` (how to become root here), ``unpacking`` (the tree to run in)
and ``post`` (running). This module imports none of them, because the programs of this room start without most of
Python's library.
"""
