-- What patients thought of a visit, and what it makes of a doctor's rating.

-- One for each completed booking. No foreign key points to bookings: a referenced partition could not be detached.
CREATE TABLE reviews (
    id uuid PRIMARY KEY,
    booking_id uuid NOT NULL UNIQUE,
    doctor_id uuid NOT NULL REFERENCES doctors,
    patient_id uuid NOT NULL REFERENCES users,
    stars bigint NOT NULL CHECK (stars BETWEEN 1 AND 5),
    text bytea,
    state text NOT NULL CHECK (state IN ('pending', 'published', 'rejected', 'withdrawn')),
    version bigint NOT NULL DEFAULT 1,
    editable_until timestamptz NOT NULL,
    moderated_by uuid,
    moderated_at timestamptz,
    moderation_reason bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN reviews.text IS 'sealed with the patient''s data key, also while it is published';
COMMENT ON COLUMN reviews.moderation_reason IS 'sealed with the patient''s data key';
COMMENT ON COLUMN reviews.state IS 'those that are published count in the doctor''s rating';
CREATE INDEX reviews_published ON reviews (doctor_id, id) INCLUDE (stars) WHERE state = 'published';
CREATE INDEX reviews_by_state ON reviews (state, id);
CREATE INDEX reviews_by_patient ON reviews (patient_id, id);

-- Kept by the difference that each review makes. The generated column rewrites the table, once for all three: doctors
-- are some 100,000 rows, a few seconds within which bookings wait.
ALTER TABLE doctors
    ADD COLUMN rating_count bigint NOT NULL DEFAULT 0,
    ADD COLUMN rating_sum bigint NOT NULL DEFAULT 0,
    -- squawk-ignore adding-field-with-default
    ADD COLUMN rating_average real GENERATED ALWAYS AS (rating_sum::real / NULLIF(rating_count, 0)) STORED;
ALTER TABLE doctors ADD CONSTRAINT doctors_rating
    CHECK (rating_count >= 0 AND rating_sum BETWEEN rating_count AND rating_count * 5) NOT VALID;

GRANT SELECT, INSERT, UPDATE ON reviews TO amrutam_app;
