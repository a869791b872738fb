-- Verification of doctors: what they submit, what becomes of it, until when it holds, and who is suspended.

-- A doctor may be found and booked while verified_at is set and verified_until has not come.
ALTER TABLE doctors
    ADD COLUMN verified_until timestamptz NOT NULL DEFAULT 'infinity',
    ADD COLUMN verification_id uuid,
    ADD COLUMN suspended_at timestamptz,
    ADD COLUMN verified_before timestamptz,
    ADD COLUMN suspension_reason bytea;
COMMENT ON COLUMN doctors.verified_until IS 'the end of the registration that was checked';
COMMENT ON COLUMN doctors.verification_id IS 'the submission that was approved last';
COMMENT ON COLUMN doctors.verified_before IS 'verified_at of a suspended doctor, which reinstating gives back';
COMMENT ON COLUMN doctors.suspension_reason IS 'sealed with the doctor''s data key';

CREATE TABLE verifications (
    id uuid PRIMARY KEY,
    doctor_id uuid NOT NULL REFERENCES doctors,
    state text NOT NULL CHECK (
        state IN ('pending', 'more_wanted', 'approved', 'rejected', 'expired', 'superseded')
    ),
    full_name text NOT NULL,
    registration_number text NOT NULL,
    registration_council text NOT NULL,
    registration_valid_until date NOT NULL,
    documents uuid [] NOT NULL DEFAULT '{}',
    note bytea,
    reason bytea,
    answer_by timestamptz,
    decided_by uuid,
    decided_at timestamptz,
    submitted_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN verifications.note IS 'the doctor''s words, sealed with the doctor''s data key';
COMMENT ON COLUMN verifications.reason IS 'an administrator''s words to the doctor, sealed with the doctor''s data key';
-- One at a time is open.
CREATE UNIQUE INDEX verifications_open ON verifications (doctor_id) WHERE state IN ('pending', 'more_wanted');
CREATE INDEX verifications_by_doctor ON verifications (doctor_id, id);
CREATE INDEX verifications_by_state ON verifications (state, id);

GRANT SELECT, INSERT, UPDATE ON verifications TO amrutam_app;
