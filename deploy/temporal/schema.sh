#!/bin/sh
# Temporal's tables, made where they are missing and brought up to date otherwise. Runs at every start.
# The tool reads host, port, user, password and TLS from SQL_* variables.
set -eu

# An update of a database that has no schema yet fails, and a set-up of one that has it would start anew: look first.
has_schema() {
    temporal-sql-tool --database "$1" update-schema --schema-name "$2" >/dev/null 2>&1
}

ensure() { # the database, the folder of its schema
    if ! has_schema "$1" "$2"; then
        temporal-sql-tool --database "$1" setup-schema --version 0.0
        temporal-sql-tool --database "$1" update-schema --schema-name "$2"
    fi
    echo "the schema of $1 is up to date"
}

ensure temporal postgresql/v12/temporal
ensure temporal_visibility postgresql/v12/visibility
