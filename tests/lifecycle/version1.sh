#!/usr/bin/env bash
# Machines where control groups are version 1: for a boot that has these (tests/lab/boot.sh --v1 --in .:/src).
exec /src/tests/lifecycle/run.sh version1
