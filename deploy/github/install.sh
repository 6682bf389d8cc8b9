#!/bin/sh
# Installs sifmake from this checkout into the environment of `pip`. Every file that pip fetches has a hash in the two
# lists; nothing is resolved anew, and nothing is built but sifmake itself, by the build tools in the first list.
#
# To renew the lists: the first lines of each say how.
set -eu

lists=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/requirements
export PIP_DISABLE_PIP_VERSION_CHECK=1

pip install --require-hashes --only-binary :all: --requirement "$lists/build.txt"
pip install --require-hashes --only-binary :all: --requirement "$lists/run.txt"
pip install --no-deps --no-build-isolation .
