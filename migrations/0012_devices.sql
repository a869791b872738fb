-- Devices on which somebody has signed in are strangers again once all of a person's sessions are ended.

ALTER TABLE users ADD COLUMN device_generation bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN users.device_generation IS 'raised with a new password and when all is signed out: device tokens given before are void';
