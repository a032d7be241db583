#!/usr/bin/env bash
# Machines behind nscd: for a boot that has it (tests/lab/boot.sh --with nscd --in .:/src).
exec /src/tests/lifecycle/run.sh nscd
