#!/bin/sh
# Amrutam's roles and databases, made where they are missing. Runs at every start, so that a changed password takes
# effect and a start that was interrupted is completed by the next one. Connects as PG* variables say, as a superuser.
set -eu

# psql reads the passwords from its environment: on a command line every process of the machine could see them.
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 <<'SQL'
\getenv owner_password AMRUTAM_OWNER_PASSWORD
\getenv app_password AMRUTAM_APP_PASSWORD
\getenv temporal_password TEMPORAL_PASSWORD

SELECT format('CREATE ROLE %I LOGIN', name)
FROM unnest(ARRAY['amrutam_owner', 'amrutam_app', 'temporal']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec

ALTER ROLE amrutam_owner PASSWORD :'owner_password';
ALTER ROLE amrutam_app PASSWORD :'app_password';
ALTER ROLE temporal PASSWORD :'temporal_password';

SELECT format('CREATE DATABASE %I OWNER %I', name, owner)
FROM (VALUES ('amrutam', 'amrutam_owner'), ('temporal', 'temporal'), ('temporal_visibility', 'temporal'))
    AS wanted (name, owner)
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = name)
\gexec

-- Nobody enters another's database. What amrutam_app may do inside, the migrations say.
REVOKE ALL ON DATABASE amrutam, temporal, temporal_visibility FROM PUBLIC;
GRANT CONNECT ON DATABASE amrutam TO amrutam_app;

\connect amrutam
-- Only a superuser may create this one.
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
SQL
echo "roles and databases are ready"
