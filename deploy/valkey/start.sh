#!/bin/sh
# Reads the password from the environment into the server's standard input: it stands on no command line and in no file.
set -eu
exec valkey-server /etc/amrutam/shared/shared.conf - <<CONFIG
include /etc/amrutam/mode/valkey.conf
requirepass ${VALKEYCLI_AUTH}
CONFIG
