-- People, their sealed data and their sessions.

CREATE TABLE users (
    id uuid PRIMARY KEY,
    email text NOT NULL UNIQUE CHECK (email = lower(email)),
    password_hash text NOT NULL,
    full_name text NOT NULL,
    roles text[] NOT NULL CHECK (roles <@ ARRAY['patient', 'doctor', 'support', 'admin'] AND cardinality(roles) > 0),
    sex text,
    time_zone text NOT NULL,
    locale text NOT NULL,
    phone bytea,
    address bytea,
    date_of_birth bytea,
    email_verified_at timestamptz,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN users.phone IS 'sealed with the person''s data key';
COMMENT ON COLUMN users.address IS 'sealed with the person''s data key';
COMMENT ON COLUMN users.date_of_birth IS 'sealed with the person''s data key';

-- One data key for each person, wrapped by the installation's master key. Destroying the row erases what it sealed.
CREATE TABLE data_keys (
    person_id uuid PRIMARY KEY,
    wrapped bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Links sent by mail: only the hash of the token lies here. A link activates the password of the registration that it
-- was sent for, so that nobody can register somebody else's address first and have its owner confirm it.
CREATE TABLE email_tokens (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    token_hash bytea NOT NULL UNIQUE,
    password_hash text NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE INDEX email_tokens_by_user ON email_tokens (user_id);
CREATE INDEX email_tokens_by_expiry ON email_tokens (expires_at);

CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    device_name text,
    methods text[] NOT NULL,
    authenticated_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    ended_at timestamptz
);
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_end ON sessions (coalesce(ended_at, expires_at));

-- Opaque, hashed, each good for one use. `parent_hash` is the token that it was exchanged for.
CREATE TABLE refresh_tokens (
    token_hash bytea PRIMARY KEY,
    session_id uuid NOT NULL REFERENCES sessions ON DELETE CASCADE,
    parent_hash bytea,
    used_at timestamptz
);
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);
CREATE INDEX refresh_tokens_by_parent ON refresh_tokens (parent_hash);

GRANT SELECT, INSERT, UPDATE ON users TO amrutam_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON data_keys, email_tokens, sessions, refresh_tokens TO amrutam_app;
