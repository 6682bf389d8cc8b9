#!/bin/sh
# Environment of a SCIF app (https://sci-f.github.io), when one was chosen by name.
if [ -n "${SINGULARITY_APPNAME:-${APPTAINER_APPNAME:-}}" ]; then
    SCIF_APPNAME="${SINGULARITY_APPNAME:-${APPTAINER_APPNAME:-}}"
    SCIF_APPS="/scif/apps"
    SCIF_DATA="/scif/data"
    SCIF_APPROOT="${SCIF_APPS}/${SCIF_APPNAME}"
    SCIF_APPDATA="${SCIF_DATA}/${SCIF_APPNAME}"
    SCIF_APPINPUT="${SCIF_APPDATA}/input"
    SCIF_APPOUTPUT="${SCIF_APPDATA}/output"
    SCIF_APPBIN="${SCIF_APPROOT}/bin"
    SCIF_APPLIB="${SCIF_APPROOT}/lib"
    SCIF_APPMETA="${SCIF_APPROOT}/scif"
    SCIF_APPENV="${SCIF_APPMETA}/env/90-environment.sh"
    SCIF_APPLABELS="${SCIF_APPMETA}/labels.json"
    SCIF_APPRUN="${SCIF_APPMETA}/runscript"
    export SCIF_APPNAME SCIF_APPS SCIF_DATA SCIF_APPROOT SCIF_APPDATA SCIF_APPINPUT SCIF_APPOUTPUT
    export SCIF_APPBIN SCIF_APPLIB SCIF_APPMETA SCIF_APPENV SCIF_APPLABELS SCIF_APPRUN
    if [ -d "${SCIF_APPBIN}" ]; then
        PATH="${SCIF_APPBIN}:${PATH}"
        export PATH
    fi
    if [ -d "${SCIF_APPLIB}" ]; then
        LD_LIBRARY_PATH="${SCIF_APPLIB}${LD_LIBRARY_PATH:+:}${LD_LIBRARY_PATH:-}"
        export LD_LIBRARY_PATH
    fi
    if [ -f "${SCIF_APPMETA}/env/01-base.sh" ]; then
        . "${SCIF_APPMETA}/env/01-base.sh"
    fi
    if [ -f "${SCIF_APPENV}" ]; then
        . "${SCIF_APPENV}"
    fi
fi
