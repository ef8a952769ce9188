#!/bin/sh
# Build stage: install lidr itself, from the source here, and write the bill of materials. What that
# adds to /opt/lidr is gathered in /opt/layer: another version of lidr is a small layer on the same
# packages.
# Usage: lidr.sh IMAGE VERSION
set -eu
here=$(dirname "$0")
touch /tmp/before
/opt/tools/bin/pip wheel --quiet --no-deps --no-index --no-build-isolation --wheel-dir /tmp/lidr .
/opt/tools/bin/pip --python /opt/lidr/bin/python install --quiet --no-index --no-deps --no-compile \
  --find-links /tmp/lidr lidr  # by name: pip notes the hash of a file, which depends on the time
rm -rf /tmp/lidr
sh "$here/bytecode.sh" /opt/lidr/lib/python3*/site-packages/lidr
/opt/tools/bin/python "$here/sbom.py" "$1" "$2"
mkdir /opt/layer
find /opt/lidr -cnewer /tmp/before ! -type d -print0 | tar --create --null --files-from - \
  --absolute-names | tar --extract --directory /opt/layer
