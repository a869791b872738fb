#!/bin/sh
# Temporal's tables, made where they are missing and brought up to date otherwise. Runs at every start: the set-up
# leaves a database that has its tables as it is. The tool reads host, port, user, password and TLS from SQL_* variables.
set -eu

ensure() { # the database, the folder of its schema
    temporal-sql-tool --database "$1" setup-schema --version 0.0
    temporal-sql-tool --database "$1" update-schema --schema-name "$2"
    echo "the schema of $1 is up to date"
}

ensure temporal postgresql/v12/temporal
ensure temporal_visibility postgresql/v12/visibility
