-- The audit trail says where from, why, within which trace and with which outcome; its seals name what was tampered with.

-- New columns have defaults that need no rewrite; the checks hold for every row that is there by those defaults.
ALTER TABLE audit
    ADD COLUMN outcome text NOT NULL DEFAULT 'done',
    ADD COLUMN trace_id text NOT NULL DEFAULT '',
    ADD COLUMN reason bytea,
    ADD COLUMN address bytea,
    ADD COLUMN sealed_for uuid;
ALTER TABLE audit ADD CONSTRAINT audit_outcome CHECK (outcome IN ('done', 'refused', 'denied')) NOT VALID;
ALTER TABLE audit ADD CONSTRAINT audit_sealed_for_somebody
    CHECK (sealed_for IS NOT NULL OR (reason IS NULL AND address IS NULL)) NOT VALID;
COMMENT ON COLUMN audit.reason IS 'sealed with the data key of the person sealed_for';
COMMENT ON COLUMN audit.address IS 'sealed with the data key of the person sealed_for';
COMMENT ON COLUMN audit.sealed_for IS 'whose data key: of the patient whom the act concerns, else of who acted';

-- The order in which rows are sealed and verified; then who looks for somebody's acts, or for what befell something.
-- An index of a partitioned table cannot be built concurrently; these are made before there are rows.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX audit_by_commit ON audit (xid, id);
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX audit_by_actor ON audit (actor_id, id) WHERE actor_id IS NOT NULL;
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX audit_by_subject ON audit (subject, id);
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX audit_by_action ON audit (action, id);
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX audit_by_refusal ON audit (outcome, id) WHERE outcome <> 'done';

-- A chain: each seal holds a mark of every row that it covers, in (xid, id) order, and a digest over these marks and
-- the seal before it. The application may add one, never change one; the last one says how far sealing has come.
CREATE TABLE audit_seals (
    number bigint PRIMARY KEY CHECK (number > 0),
    last_xid xid8 NOT NULL,
    last_id uuid NOT NULL,
    marks bytea NOT NULL CHECK (octet_length(marks) > 0 AND octet_length(marks) % 56 = 0),
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    sealed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN audit_seals.marks IS 'xid (8 bytes), id (16) and SHA-256 (32) of each row, one after another';
-- Hashes do not compress.
ALTER TABLE audit_seals ALTER COLUMN marks SET STORAGE EXTERNAL;

GRANT SELECT, INSERT ON audit_seals TO amrutam_app;
