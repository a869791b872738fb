-- Forgotten passwords, and addresses that change.

-- Links that let somebody choose another password: only the hash of the token lies here.
CREATE TABLE password_resets (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    token_hash bytea NOT NULL UNIQUE,
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE INDEX password_resets_by_user ON password_resets (user_id);
CREATE INDEX password_resets_by_expiry ON password_resets (expires_at);

-- A change of address takes place once both sides have opened their link. One at a time for each person.
CREATE TABLE email_changes (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    old_email text NOT NULL CHECK (old_email = lower(old_email)),
    new_email text NOT NULL CHECK (new_email = lower(new_email)),
    old_token_hash bytea NOT NULL UNIQUE,
    new_token_hash bytea NOT NULL UNIQUE,
    old_confirmed_at timestamptz,
    new_confirmed_at timestamptz,
    expires_at timestamptz NOT NULL,
    ended_at timestamptz
);
COMMENT ON COLUMN email_changes.ended_at IS 'when it took place, was refused, or gave way to a later one';
CREATE UNIQUE INDEX email_changes_open ON email_changes (user_id) WHERE ended_at IS NULL;
CREATE INDEX email_changes_by_user ON email_changes (user_id);
CREATE INDEX email_changes_by_expiry ON email_changes (expires_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON password_resets, email_changes TO amrutam_app;
