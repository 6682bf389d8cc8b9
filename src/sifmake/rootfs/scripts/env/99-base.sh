#!/bin/sh
# Libraries that the runtime binds into the container are found last.
LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}${LD_LIBRARY_PATH:+:}/.singularity.d/libs"
export LD_LIBRARY_PATH

# A prompt that tells the container from the host, unless the image has one of its own.
if [ -z "${PS1:-}" ]; then
    PS1="Apptainer> "
fi
export PS1
