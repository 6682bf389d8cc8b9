"""Run scripts of definition files as root, without being root, and return their changes as a layer.

Callers need ``request`` (what to run), ``modes`` (how to become root here), ``unpacking`` (the tree to run in) and
``post`` (running). This module imports none of them, because the programs of this folder start without most of Python's
library.
"""
