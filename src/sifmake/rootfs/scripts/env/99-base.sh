#!/bin/sh
# Libraries that the runtime binds into the container are found last.
LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}${LD_LIBRARY_PATH:+:}/.singularity.d/libs"
export LD_LIBRARY_PATH

# A prompt that tells the container from the host, unless the image has one of its own.
if [ -z "${PS1:-}" ]; then
    PS1="Apptainer> "
fi
export PS1

# The start-up files of interactive shells often set another prompt: set this one once more before it is first shown.
case "${PS1}" in
*[\"\$\`\\]*) ;;
*)
    if [ -z "${PROMPT_COMMAND:-}" ]; then
        PROMPT_COMMAND="PS1=\"${PS1}\"; unset PROMPT_COMMAND"
    else
        PROMPT_COMMAND="${PROMPT_COMMAND}; PROMPT_COMMAND=\"\${PROMPT_COMMAND%%; PROMPT_COMMAND=*}\"; PS1=\"${PS1}\""
    fi
    export PROMPT_COMMAND
    ;;
esac
