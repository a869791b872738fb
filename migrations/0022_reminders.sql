-- When a patient was reminded last, and of what each person wants to be reminded.

ALTER TABLE bookings ADD COLUMN reminded_at timestamptz, ADD COLUMN refund_from timestamptz;
COMMENT ON COLUMN bookings.refund_from IS 'the earliest time that its patient left by a late move; what a cancellation gives back counts from there';
COMMENT ON COLUMN bookings.reminded_at IS 'the moment of the last reminder of this time; a move forgets it';

CREATE TABLE notification_preferences (
    user_id uuid PRIMARY KEY REFERENCES users,
    -- squawk-ignore prefer-bigint-over-int
    reminder_minutes integer[] NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN notification_preferences.reminder_minutes IS 'how long before a visit; of those that the clinic offers';
GRANT SELECT, INSERT, UPDATE, DELETE ON notification_preferences TO amrutam_app;
