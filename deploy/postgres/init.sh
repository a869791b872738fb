#!/bin/sh
# Amrutam's roles, databases and slots for replicas, made where they are missing. Runs at every start, so that a changed
# password takes effect and a start that was interrupted is completed by the next one. Connects as PG* variables say, as a superuser.
set -eu

# psql reads the passwords from its environment: on a command line every process of the machine could see them.
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 <<'SQL'
\getenv owner_password AMRUTAM_OWNER_PASSWORD
\getenv app_password AMRUTAM_APP_PASSWORD
\getenv temporal_password TEMPORAL_PASSWORD
\getenv replication_password REPLICATION_PASSWORD

SELECT format('CREATE ROLE %I LOGIN', name)
FROM unnest(ARRAY['amrutam_owner', 'amrutam_app', 'temporal', 'amrutam_replication']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec

ALTER ROLE amrutam_owner PASSWORD :'owner_password';
ALTER ROLE amrutam_app PASSWORD :'app_password';
ALTER ROLE temporal PASSWORD :'temporal_password';
-- It may copy everything, and pg_hba.conf lets it do nothing else.
ALTER ROLE amrutam_replication REPLICATION PASSWORD :'replication_password';

SELECT format('CREATE DATABASE %I OWNER %I', name, owner)
FROM (VALUES ('amrutam', 'amrutam_owner'), ('temporal', 'temporal'), ('temporal_visibility', 'temporal'))
    AS wanted (name, owner)
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = name)
\gexec

-- Nobody enters another's database. What amrutam_app may do inside, the migrations say.
REVOKE ALL ON DATABASE amrutam, temporal, temporal_visibility FROM PUBLIC;
GRANT CONNECT ON DATABASE amrutam TO amrutam_app;

-- A slot for each replica, which keeps nothing until that one comes. What a lost one kept is gone, and its replica has to
-- be copied anew: it takes the fresh slot then.
DO $$
DECLARE replicas CONSTANT text[] := ARRAY['replica_1', 'replica_2'];
BEGIN
    PERFORM pg_drop_replication_slot(slot_name) FROM pg_replication_slots
    WHERE slot_name = ANY (replicas) AND wal_status = 'lost' AND NOT active;
    PERFORM pg_create_physical_replication_slot(name) FROM unnest(replicas) AS name
    WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = name);
END
$$;

\connect amrutam
-- Only a superuser may create this one.
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
SQL
echo "roles, databases and slots are ready"
