-- Receipts: one for each payment that paid for a visit, numbered within the financial year without a gap.

CREATE TABLE receipt_years (
    year text PRIMARY KEY,
    last bigint NOT NULL
);
COMMENT ON TABLE receipt_years IS 'the last number that was given; its row is held until the receipt is committed, so no number is lost';

CREATE TABLE receipts (
    payment_id uuid PRIMARY KEY REFERENCES payments,
    booking_id uuid NOT NULL,
    year text NOT NULL REFERENCES receipt_years,
    serial bigint NOT NULL,
    gateway text NOT NULL,
    charge_id text NOT NULL,
    visit_at timestamptz NOT NULL,
    visit_minutes bigint NOT NULL,
    mode text NOT NULL,
    doctor_name text NOT NULL,
    registration text NOT NULL,
    tax_permille bigint NOT NULL,
    issued_at timestamptz NOT NULL,
    UNIQUE (year, serial),
    FOREIGN KEY (gateway, charge_id) REFERENCES charges
);
CREATE INDEX receipts_by_booking ON receipts (booking_id);
COMMENT ON COLUMN receipts.visit_at IS 'as it was booked when it was paid for; a receipt does not change';

GRANT SELECT, INSERT, UPDATE ON receipt_years TO amrutam_app;
GRANT SELECT, INSERT ON receipts TO amrutam_app;
