#!/bin/sh
# Variables for this container can be set below this line.
