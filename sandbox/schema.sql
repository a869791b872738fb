-- Times are text in UTC to the microsecond, all of one length, so that they sort. Amounts are in minor units.

CREATE TABLE IF NOT EXISTS orders (
    id TEXT PRIMARY KEY,
    reference TEXT NOT NULL UNIQUE,
    amount INTEGER NOT NULL CHECK (amount > 0),
    currency TEXT NOT NULL,
    description TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    return_url TEXT NOT NULL,
    created_at TEXT NOT NULL,
    paid_at TEXT,
    closed_at TEXT
);

-- One for each time that somebody pays or declines. `webhooks` and `delay_seconds` say how it is told.
CREATE TABLE IF NOT EXISTS charges (
    id TEXT PRIMARY KEY,
    order_id TEXT NOT NULL REFERENCES orders,
    state TEXT NOT NULL CHECK (state IN ('declined', 'authorised', 'captured')),
    webhooks TEXT NOT NULL,
    delay_seconds REAL NOT NULL,
    created_at TEXT NOT NULL,
    capture_at TEXT,
    captured_at TEXT
);
CREATE INDEX IF NOT EXISTS charges_of_order ON charges (order_id, created_at);
CREATE INDEX IF NOT EXISTS charges_due ON charges (capture_at) WHERE state = 'authorised';
CREATE INDEX IF NOT EXISTS charges_captured ON charges (captured_at, id) WHERE state = 'captured';

CREATE TABLE IF NOT EXISTS refunds (
    id TEXT PRIMARY KEY,
    reference TEXT NOT NULL UNIQUE,
    charge_id TEXT NOT NULL REFERENCES charges,
    amount INTEGER NOT NULL CHECK (amount > 0),
    state TEXT NOT NULL CHECK (state IN ('pending', 'done')),
    created_at TEXT NOT NULL,
    done_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS refunds_of_charge ON refunds (charge_id);
CREATE INDEX IF NOT EXISTS refunds_due ON refunds (done_at) WHERE state = 'pending';

-- What is to be told. An event that is told twice has two rows with one body.
CREATE TABLE IF NOT EXISTS deliveries (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL,
    order_id TEXT NOT NULL REFERENCES orders,
    body TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'told', 'given_up')),
    due_at TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    refusals INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (due_at, number) WHERE state = 'waiting';
