#!/bin/sh
# Compile Python files beforehand: a read-only root keeps none that are compiled later. What is
# compiled does not depend on times, which image builders rewrite.
# Usage: bytecode.sh FOLDER...
set -eu
# Templates and tests of Python 2 among the packages do not compile; nothing imports them.
PYTHONHASHSEED=0 python3 -m compileall -qq --invalidation-mode unchecked-hash "$@" || true
