#!/usr/bin/env bash
# What has to do with the bus: for a boot under dbus-broker (tests/lab/boot.sh --broker --in .:/src).
exec /src/tests/lifecycle/run.sh bus handover units
