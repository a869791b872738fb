-- What patients pay, what was captured of it, what went back, and the double-entry ledger of all of it.

-- One try to pay for a booking. A booking may have several, one after another.
CREATE TABLE payments (
    id uuid PRIMARY KEY,
    booking_id uuid NOT NULL,
    patient_id uuid NOT NULL,
    gateway text NOT NULL,
    status text NOT NULL DEFAULT 'requires_action'
        CHECK (status IN ('requires_action', 'paid', 'refunding', 'refunded', 'lapsed')),
    amount bigint NOT NULL CHECK (amount > 0),
    currency text NOT NULL,
    return_url text NOT NULL,
    gateway_ref text,
    checkout_url text,
    expires_at timestamptz NOT NULL,
    captures_until timestamptz NOT NULL,
    closed_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (gateway, gateway_ref)
);
CREATE INDEX payments_by_booking ON payments (booking_id);
CREATE INDEX payments_by_patient ON payments (patient_id, id);
-- Whoever asks twice is sent to the same checkout.
CREATE UNIQUE INDEX payments_open ON payments (booking_id) WHERE status = 'requires_action';
COMMENT ON COLUMN payments.gateway_ref IS 'the gateway''s id of the order; null until it has answered';
COMMENT ON COLUMN payments.captures_until IS 'later than this the gateway captures nothing any more';
COMMENT ON COLUMN payments.closed_at IS 'when the gateway was told to take nothing more for it';

-- Money that a gateway has taken. A payment may have several: people pay twice.
CREATE TABLE charges (
    gateway text NOT NULL,
    id text NOT NULL,
    payment_id uuid NOT NULL REFERENCES payments,
    amount bigint NOT NULL CHECK (amount > 0),
    currency text NOT NULL,
    captured_at timestamptz NOT NULL,
    decision text CHECK (decision IN ('applied', 'returned')),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (gateway, id)
);
CREATE INDEX charges_by_payment ON charges (payment_id);
CREATE INDEX charges_undecided ON charges (recorded_at) WHERE decision IS NULL;
COMMENT ON COLUMN charges.decision IS 'applied: it pays for the booking; returned: all of it goes back; null: the booking''s workflow is asked';

-- Money that goes back. One for each charge and cause, whoever asks and however often.
CREATE TABLE refunds (
    id uuid PRIMARY KEY DEFAULT uuidv7(),
    payment_id uuid NOT NULL REFERENCES payments,
    gateway text NOT NULL,
    charge_id text NOT NULL,
    cause text NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    currency text NOT NULL,
    status text NOT NULL DEFAULT 'due' CHECK (status IN ('proposed', 'due', 'sent', 'done', 'failed')),
    gateway_ref text,
    failure text,
    asked_by uuid,
    reason text,
    approved_by uuid CHECK (approved_by <> asked_by),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (gateway, charge_id, cause),
    FOREIGN KEY (gateway, charge_id) REFERENCES charges
);
CREATE INDEX refunds_by_payment ON refunds (payment_id);
CREATE INDEX refunds_open ON refunds (updated_at) WHERE status NOT IN ('done', 'proposed');
COMMENT ON COLUMN refunds.cause IS 'why: cancelled, late, duplicate, amount, or support/<operation id>';
COMMENT ON COLUMN refunds.reason IS 'support''s own words, for whoever is to agree';
COMMENT ON COLUMN refunds.status IS 'proposed: a second person is to agree; sent: the gateway has it; failed: support is to see to it';

-- What gateways told, as it came. It is only a reason to look.
CREATE TABLE webhooks (
    gateway text NOT NULL,
    event_id text NOT NULL,
    payment_id uuid,
    body bytea NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (gateway, event_id)
);
CREATE INDEX webhooks_by_age ON webhooks (received_at);
COMMENT ON COLUMN webhooks.body IS 'sealed; kept for some days, to be shown to the gateway';

-- A movement is written once for what caused it, and its entries add up to nothing.
CREATE TABLE ledger_movements (
    id uuid PRIMARY KEY DEFAULT uuidv7(),
    kind text NOT NULL CHECK (kind IN ('captured', 'applied', 'released', 'refunded')),
    cause text NOT NULL,
    payment_id uuid NOT NULL REFERENCES payments,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (kind, cause)
);
CREATE INDEX ledger_movements_by_payment ON ledger_movements (payment_id);
CREATE TABLE ledger_entries (
    movement_id uuid NOT NULL REFERENCES ledger_movements,
    account text NOT NULL CHECK (account IN ('gateway', 'patient', 'visit', 'kept')),
    amount bigint NOT NULL CHECK (amount <> 0),
    currency text NOT NULL,
    PRIMARY KEY (movement_id, account)
);
COMMENT ON COLUMN ledger_entries.amount IS 'in minor units; debit above zero, credit below';
COMMENT ON COLUMN ledger_entries.account IS 'gateway: what it holds for us; patient: what is owed back; visit: what is paid for visits; kept: what a late cancellation costs';

CREATE FUNCTION movements_balance() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM ledger_entries WHERE movement_id = NEW.movement_id
               GROUP BY currency HAVING sum(amount) <> 0) THEN
        RAISE EXCEPTION 'the entries of movement % do not add up to nothing', NEW.movement_id
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER movements_balance AFTER INSERT ON ledger_entries
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION movements_balance();

ALTER TABLE bookings ADD COLUMN payment_id uuid;
COMMENT ON COLUMN bookings.payment_id IS 'the payment that was asked for last, or that paid for it';

-- The ledger is written and never changed.
GRANT SELECT, INSERT ON ledger_movements, ledger_entries TO amrutam_app;
GRANT SELECT, INSERT, UPDATE ON payments, charges, refunds TO amrutam_app;
GRANT SELECT, INSERT, DELETE ON webhooks TO amrutam_app;

-- Nothing that was told before is about a payment: its consumer begins here.
INSERT INTO watermarks (consumer, xid) VALUES ('payments', pg_snapshot_xmin(pg_current_snapshot()));
