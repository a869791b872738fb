-- A link puts into force what its own registration said: role and profile lie with it, beside the password.

ALTER TABLE email_tokens
ADD COLUMN roles text[] CHECK (roles <@ ARRAY['patient', 'doctor'] AND cardinality(roles) > 0),
ADD COLUMN profile bytea,
ADD COLUMN asked_at timestamptz NOT NULL DEFAULT now();
COMMENT ON COLUMN email_tokens.profile IS 'of the registration, sealed with the account''s data key; NULL: nobody has the
token, and the row remembers the password of the newest registration with the address, confirmed or not';
COMMENT ON COLUMN email_tokens.asked_at IS 'when the registration was made that the link stands for';

-- A link from before does not say what it would put into force. Whoever waits for one asks for another.
UPDATE email_tokens SET used_at = now() WHERE used_at IS NULL;
