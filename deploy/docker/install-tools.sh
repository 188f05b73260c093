#!/bin/sh
# install-tools.sh: what installs, builds and lists the packages of an image, none of which stays in it.
set -eu
python3 -m venv /opt/build
/opt/build/bin/pip install --quiet --no-cache-dir --require-hashes --only-binary :all: --requirement build.txt
