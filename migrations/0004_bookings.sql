-- Who holds which time, and why.

-- A time of a doctor or a patient. The constraint is the truth on every path: two claims of one resource never overlap.
CREATE TABLE claims (
    booking_id uuid NOT NULL,
    resource_id uuid NOT NULL,
    during tstzrange NOT NULL,
    expires_at timestamptz,
    PRIMARY KEY (booking_id, resource_id),
    EXCLUDE USING gist (resource_id WITH =, during WITH &&)
);
CREATE INDEX claims_by_end ON claims (upper(during));

-- No foreign keys point here: a referenced partition could not be detached. Uniqueness is the id's alone.
CREATE TABLE bookings (
    id uuid NOT NULL,
    status text NOT NULL CHECK (
        status IN ('held', 'awaiting_payment', 'confirmed', 'completed', 'expired', 'cancelled', 'no_show')
    ),
    doctor_id uuid NOT NULL,
    patient_id uuid NOT NULL,
    booked_by uuid NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    mode text NOT NULL,
    reason bytea,
    fee_amount bigint NOT NULL CHECK (fee_amount >= 0),
    fee_currency text NOT NULL,
    expires_at timestamptz,
    confirmed_at timestamptz,
    cancelled_at timestamptz,
    cancelled_by uuid,
    cancelled_role text,
    cancellation_reason bytea,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);
CREATE INDEX bookings_by_patient ON bookings (patient_id, id);
CREATE INDEX bookings_by_doctor ON bookings (doctor_id, id);
COMMENT ON COLUMN bookings.reason IS 'sealed with the patient''s data key';
COMMENT ON COLUMN bookings.cancellation_reason IS 'sealed with the patient''s data key';
INSERT INTO partitioned_tables VALUES ('bookings');

-- A consultation has its booking's id.
CREATE TABLE consultations (
    id uuid NOT NULL,
    status text NOT NULL CHECK (
        status IN (
            'scheduled', 'waiting', 'in_progress', 'completed', 'no_show_patient', 'no_show_doctor', 'cancelled'
        )
    ),
    doctor_id uuid NOT NULL,
    patient_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);
CREATE INDEX consultations_by_patient ON consultations (patient_id, id);
CREATE INDEX consultations_by_doctor ON consultations (doctor_id, id);
INSERT INTO partitioned_tables VALUES ('consultations');

GRANT SELECT, INSERT, UPDATE, DELETE ON claims TO amrutam_app;
GRANT SELECT, INSERT, UPDATE ON bookings, consultations TO amrutam_app;
