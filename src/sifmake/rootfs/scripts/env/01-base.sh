#!/bin/sh
# The first of the environment scripts; scripts in this folder are read in the order of their names.
# Some shells give PS1 a value of their own, which must not hide the image's.
unset PS1
