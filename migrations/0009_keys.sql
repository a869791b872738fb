-- Finding people by telephone without reading everybody's.

ALTER TABLE users ADD COLUMN phone_index bytea;
COMMENT ON COLUMN users.phone_index IS 'HMAC of the phone number under a key of its own; begins with the key''s name';
-- Made before there are rows; several people may share a number.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX users_by_phone ON users (phone_index) WHERE phone_index IS NOT NULL;
