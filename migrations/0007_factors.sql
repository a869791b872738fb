-- Second factors: one authenticator app for each person, recovery codes, and what lies between password and code.

CREATE TABLE factors (
    user_id uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    secret bytea NOT NULL,
    last_step bigint NOT NULL DEFAULT 0,
    enrolled_at timestamptz NOT NULL DEFAULT now(),
    confirmed_at timestamptz
);
COMMENT ON COLUMN factors.secret IS 'sealed with the person''s data key';
COMMENT ON COLUMN factors.last_step IS 'the time step of the last code that was taken: no code is taken twice';
COMMENT ON COLUMN factors.confirmed_at IS 'NULL until a first code was given: the factor is not asked for yet';

-- Each code is good once. `slot` is its first character, so that one hash is checked and not ten.
CREATE TABLE recovery_codes (
    user_id uuid NOT NULL REFERENCES factors ON DELETE CASCADE,
    slot bigint NOT NULL CHECK (slot BETWEEN 0 AND 9),
    code_hash text NOT NULL,
    used_at timestamptz,
    PRIMARY KEY (user_id, slot)
);

-- Somebody has given the right password, and is to give a code, or to enroll a factor. Only the token's hash lies here.
-- `password_mark` is the hash of the password's hash: a change or reset of the password voids the challenge.
CREATE TABLE factor_challenges (
    id uuid PRIMARY KEY,
    token_hash bytea NOT NULL UNIQUE,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    purpose text NOT NULL CHECK (purpose IN ('verify', 'enroll')),
    password_mark bytea NOT NULL,
    device_name text,
    attempts bigint NOT NULL DEFAULT 0,
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE INDEX factor_challenges_by_user ON factor_challenges (user_id);
CREATE INDEX factor_challenges_by_expiry ON factor_challenges (expires_at);

ALTER TABLE sessions ADD COLUMN factor_at timestamptz;
COMMENT ON COLUMN sessions.factor_at IS 'when a second factor was last shown in this session';

GRANT SELECT, INSERT, UPDATE, DELETE ON factors, recovery_codes, factor_challenges TO amrutam_app;
