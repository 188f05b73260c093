#!/bin/sh
# install-packages.sh LOCK: what an image's lock names, to the byte, in /opt/canicor; nothing is compiled.
set -eu
python3 -m venv --without-pip /opt/canicor
/opt/build/bin/pip --python /opt/canicor/bin/python install --quiet --no-cache-dir --no-deps --require-hashes \
    --only-binary :all: --requirement "$1"
