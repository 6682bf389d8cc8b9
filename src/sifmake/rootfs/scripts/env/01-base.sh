#!/bin/sh
# The first of the environment scripts: it sets nothing. Scripts in this folder are read in the order of their names.
