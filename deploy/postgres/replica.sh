#!/bin/sh
# replica.sh SLOT COMMAND…: a streaming replica. Copies the primary once into its own volume, then becomes COMMAND, a
# server that follows the primary through the slot of that name (init.sh makes both slot and role). PG* variables say how
# the primary is reached. The client library reads the password there, in pg_basebackup as in the server, so no command
# line and no file of the copy holds it, and a changed one takes effect with the container's next start.
set -eu
slot="$1"
shift

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    echo "copying the primary $PGHOST"
    # Aside, and moved into place once it is whole: a copy that was interrupted is begun anew.
    rm -rf "$PGDATA.new"
    mkdir -p "$(dirname "$PGDATA")"
    pg_basebackup --pgdata="$PGDATA.new" --wal-method=stream --slot="$slot" --checkpoint=fast --no-password
    touch "$PGDATA.new/standby.signal"
    sync "$PGDATA.new/standby.signal"
    mv -T "$PGDATA.new" "$PGDATA"
fi

exec "$@" -c primary_conninfo="host=$PGHOST user=$PGUSER application_name=$slot" -c primary_slot_name="$slot"
