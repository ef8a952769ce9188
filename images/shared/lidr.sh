#!/bin/sh
# Build stage: install lidr itself, from the source here, into /opt/lidr.
set -eu
here=$(dirname "$0")
/opt/tools/bin/pip wheel --quiet --no-deps --no-index --no-build-isolation --wheel-dir /tmp/lidr .
/opt/tools/bin/pip --python /opt/lidr/bin/python install --quiet --no-index --no-deps --no-compile \
  --find-links /tmp/lidr lidr  # by name: pip notes the hash of a file, which depends on the time
rm -rf /tmp/lidr
sh "$here/bytecode.sh" /opt/lidr/lib/python3*/site-packages/components \
  /opt/lidr/lib/python3*/site-packages/pipelines
