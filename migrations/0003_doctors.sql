-- Doctors, the hours that they offer, and the times that they take back.

CREATE TABLE doctors (
    id uuid PRIMARY KEY REFERENCES users,
    full_name text NOT NULL,
    gender text,
    specialties text[] NOT NULL DEFAULT '{}',
    languages text[] NOT NULL DEFAULT '{}',
    bio text NOT NULL DEFAULT '',
    years_of_experience bigint,
    qualifications text NOT NULL DEFAULT '',
    registration_number text,
    registration_council text,
    modes text[] NOT NULL DEFAULT '{}',
    fees jsonb NOT NULL DEFAULT '{}',
    lowest_fee bigint,
    verified_at timestamptz,
    version bigint NOT NULL DEFAULT 1,
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX doctors_by_specialty ON doctors USING gin (specialties);
CREATE INDEX doctors_by_language ON doctors USING gin (languages);
CREATE INDEX doctors_by_name ON doctors USING gin (full_name gin_trgm_ops);

-- The row that a booking takes FOR SHARE and a change of hours, fees or verification FOR UPDATE, so that no claim slips
-- past a change.
CREATE TABLE calendars (
    doctor_id uuid PRIMARY KEY REFERENCES doctors,
    availability jsonb NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE availability_exceptions (
    id uuid PRIMARY KEY,
    doctor_id uuid NOT NULL REFERENCES calendars,
    during tstzrange NOT NULL CHECK (NOT isempty(during) AND NOT lower_inf(during) AND NOT upper_inf(during)),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX availability_exceptions_by_time ON availability_exceptions USING gist (doctor_id, during);

GRANT SELECT, INSERT, UPDATE ON doctors, calendars TO amrutam_app;
GRANT SELECT, INSERT, DELETE ON availability_exceptions TO amrutam_app;
