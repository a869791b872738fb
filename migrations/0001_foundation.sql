-- What every feature stands on: the mode, monthly partitions, events, audit, idempotency records.

-- Both extensions are trusted: the owner of the database may create them without being a superuser.
CREATE EXTENSION IF NOT EXISTS btree_gist;
CREATE EXTENSION IF NOT EXISTS pg_trgm;

-- One row: the mode this database was born in. Production refuses one that was born in demo.
CREATE TABLE deployment (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    mode text NOT NULL CHECK (mode IN ('production', 'demo')),
    born_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO deployment (mode) VALUES (current_setting('amrutam.mode'));

-- Hot tables are partitioned by range of their UUIDv7 id, which is their time of creation, a month (UTC) each.
CREATE TABLE partitioned_tables (name text PRIMARY KEY);

CREATE FUNCTION first_uuidv7(at timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$ SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid $$;

-- Makes the partitions from last month to `months_ahead` from now and returns the names of the new ones. Built apart
-- and attached, because CREATE … PARTITION OF would lock the parent against every booking.
CREATE FUNCTION ensure_partitions(months_ahead integer DEFAULT 3) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '3s'
AS $$
DECLARE
    parent text;
    month timestamp;
    child text;
    low uuid;
    high uuid;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('amrutam.ensure_partitions', 0));
    FOR parent IN SELECT name FROM partitioned_tables ORDER BY name LOOP
        FOR step IN -1 .. months_ahead LOOP
            month := date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => step);
            child := parent || to_char(month, '"_"YYYY"_"MM');
            CONTINUE WHEN EXISTS (
                SELECT FROM pg_inherits WHERE inhparent = to_regclass(parent) AND inhrelid = to_regclass(child));
            low := first_uuidv7(month AT TIME ZONE 'UTC');
            high := first_uuidv7((month + interval '1 month') AT TIME ZONE 'UTC');
            IF to_regclass(child) IS NULL THEN -- one that was detached keeps its rows and comes back as it is
                EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', child, parent);
                EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I CHECK (id >= %L AND id < %L)',
                               child, child || '_month', low, high);
            END IF;
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child, low, high);
            RETURN NEXT child;
        END LOOP;
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION ensure_partitions(integer) FROM public;

-- Facts, in the order in which consumers may trust them: (xid, id) below pg_snapshot_xmin. An order by id alone loses
-- rows that commit out of order.
CREATE TABLE events (
    id uuid NOT NULL DEFAULT uuidv7(),
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    type text NOT NULL,
    subject uuid NOT NULL,
    data jsonb NOT NULL,
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);
CREATE INDEX events_by_commit ON events (xid, id);
INSERT INTO partitioned_tables VALUES ('events');

-- How far each consumer of events has read.
CREATE TABLE watermarks (
    consumer text PRIMARY KEY,
    xid xid8 NOT NULL DEFAULT '0',
    id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    moved_at timestamptz NOT NULL DEFAULT now()
);

-- Who did what, and who read whose data. The application may add and read, never change.
CREATE TABLE audit (
    id uuid NOT NULL DEFAULT uuidv7(),
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    actor_id uuid,
    actor_role text NOT NULL,
    action text NOT NULL,
    subject uuid NOT NULL,
    patient_id uuid,
    request_id text NOT NULL,
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);
CREATE INDEX audit_by_patient ON audit (patient_id, id) WHERE patient_id IS NOT NULL;
INSERT INTO partitioned_tables VALUES ('audit');

-- Idempotency records: one for each user and key. The outcome is written by the transaction that did the work.
CREATE TABLE operations (
    user_id uuid NOT NULL,
    key text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    operation_id uuid NOT NULL UNIQUE,
    action text NOT NULL,
    request_mac bytea NOT NULL,
    outcome bytea,
    refusal bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, key),
    CHECK (outcome IS NULL OR refusal IS NULL)
);
CREATE INDEX operations_by_age ON operations (created_at);

GRANT SELECT ON deployment, partitioned_tables TO amrutam_app;
GRANT SELECT, INSERT ON events, audit TO amrutam_app;
GRANT SELECT, INSERT, UPDATE ON watermarks TO amrutam_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON operations TO amrutam_app;
GRANT EXECUTE ON FUNCTION ensure_partitions(integer) TO amrutam_app;
