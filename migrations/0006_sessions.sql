-- Where a session is used, which of its access tokens are good, and the devices that people are known by.

ALTER TABLE sessions
ADD COLUMN user_agent text,
ADD COLUMN address bytea,
ADD COLUMN token_version bigint NOT NULL DEFAULT 1 CHECK (token_version > 0);
COMMENT ON COLUMN sessions.user_agent IS 'browser and system, by name alone';
COMMENT ON COLUMN sessions.address IS 'of its last use; sealed with the person''s data key';
COMMENT ON COLUMN sessions.token_version IS 'raised when access tokens given before must be exchanged, as when roles change';

-- A device is known by a mark (HMAC) of what it is recognised by, so that neither addresses nor tokens lie here.
CREATE TABLE known_devices (
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    mark bytea NOT NULL,
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, mark)
);
CREATE INDEX known_devices_by_age ON known_devices (last_seen_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON known_devices TO amrutam_app;
