#!/bin/sh
# Build stage: make /opt/lidr, a virtual environment of exactly what a lock lists, without pip.
# Usage: packages.sh LOCK
set -eu
here=$(dirname "$0")
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
export DS_BUILD_OPS=0  # DeepSpeed compiles nothing: no operation of its own is used

python3 -m venv /opt/tools
/opt/tools/bin/pip install --quiet --require-hashes --requirement "$here/tools.lock"

# Source distributions become wheels by the tools' setuptools, never by one fetched on the way.
/opt/tools/bin/pip wheel --quiet --no-deps --no-build-isolation --require-hashes \
  --requirement "$1" --wheel-dir /tmp/wheels

# By name, not by file: pip notes a file's hash, and that of a wheel built here depends on the time.
grep --only-matching '^[a-z0-9][^ ]*==[^ ]*' "$1" > /tmp/names.txt
python3 -m venv --without-pip /opt/lidr
PIP_CONFIG_FILE=/dev/null /opt/tools/bin/pip --python /opt/lidr/bin/python install --quiet \
  --no-index --no-deps --no-compile --find-links /tmp/wheels --requirement /tmp/names.txt
rm -rf /tmp/wheels /tmp/names.txt
sh "$here/bytecode.sh" /opt/lidr/lib
