-- Staff: who is invited, who is suspended, and sessions of a browser.

ALTER TABLE users ADD COLUMN suspended_at timestamptz;
COMMENT ON COLUMN users.suspended_at IS 'nobody signs in to the account since then';

-- How an administrator finds somebody. Built while few sign up: registering waits meanwhile.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX users_by_role ON users USING gin (roles);
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX users_by_name ON users USING gin (full_name gin_trgm_ops);
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX users_by_address ON users USING gin (email gin_trgm_ops);

-- Links that make an account for somebody who cannot register: only the hash of the token lies here.
CREATE TABLE invitations (
    id uuid PRIMARY KEY,
    email text NOT NULL CHECK (email = lower(email)),
    full_name text NOT NULL,
    roles text[] NOT NULL CHECK (roles <@ ARRAY['doctor', 'support', 'admin'] AND cardinality(roles) > 0),
    token_hash bytea NOT NULL UNIQUE,
    invited_by uuid REFERENCES users,
    expires_at timestamptz NOT NULL,
    ended_at timestamptz
);
COMMENT ON COLUMN invitations.invited_by IS 'NULL: the operator, from the command line';
COMMENT ON COLUMN invitations.ended_at IS 'when it was accepted, or gave way to a later one';
CREATE UNIQUE INDEX invitations_open ON invitations (email) WHERE ended_at IS NULL;
CREATE INDEX invitations_by_expiry ON invitations (expires_at);

-- What the cookie of a browser that signed in at /staff opens: a session without refresh tokens.
CREATE TABLE staff_sessions (
    token_hash bytea PRIMARY KEY,
    session_id uuid NOT NULL UNIQUE REFERENCES sessions ON DELETE CASCADE
);

GRANT SELECT, INSERT, UPDATE, DELETE ON invitations TO amrutam_app;
GRANT SELECT, INSERT, DELETE ON staff_sessions TO amrutam_app;
