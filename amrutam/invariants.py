"""What must always be true of the rows, each as one SQL statement that finds what breaks it.

A statement selects the ids of offenders. It looks at what is live, and at what was made since `scope.since`, so that it
is quick on a full system. A row that is about to be right (a timer is just firing, the relay is just reading) counts
only when it has stood since before `scope.settled`.
"""

from typing import NamedTuple

from amrutam.storage.partitions import MISSING


class Invariant(NamedTuple):
    """A sentence that must be true, why, and the statement that finds what makes it false."""

    name: str
    reason: str
    sql: str


INVARIANTS = (
    Invariant(
        "no two claims of one resource overlap",
        "the exclusion constraint is the truth on every path; without it nothing keeps two bookings apart",
        """SELECT 'claims' WHERE NOT EXISTS (
               SELECT FROM pg_constraint
               WHERE conrelid = 'claims'::regclass AND convalidated
                 AND pg_get_constraintdef(oid) = 'EXCLUDE USING gist (resource_id WITH =, during WITH &&)')""",
    ),
    Invariant(
        "a live booking holds its doctor's and its patient's time",
        "else the same time can be given away again",
        # Joined, not counted for each booking: the planner would look each one up in the constraint's index.
        """SELECT b.id::text
           FROM scope, bookings b LEFT JOIN claims c
                ON c.booking_id = b.id AND c.resource_id IN (b.doctor_id, b.patient_id)
                   AND c.during @> tstzrange(b.starts_at, b.ends_at)
                   AND c.expires_at IS NOT DISTINCT FROM b.expires_at
           WHERE b.id >= since AND b.ends_at > now() AND b.updated_at < settled
             AND (b.status = 'confirmed' OR b.status IN ('held', 'awaiting_payment') AND b.expires_at > now())
           GROUP BY b.id HAVING count(c.booking_id) <> 2""",
    ),
    Invariant(
        "a booking that has ended holds no time",
        "else the time is lost to everybody",
        """SELECT DISTINCT b.id::text FROM scope, claims c JOIN bookings b ON b.id = c.booking_id
           WHERE b.status IN ('expired', 'cancelled', 'no_show') AND b.updated_at < settled""",
    ),
    Invariant(
        "every claim belongs to a booking",
        "a time is held for a booking's doctor and patient, or is free",
        """SELECT DISTINCT c.booking_id::text FROM claims c, scope
           WHERE c.booking_id < first_uuidv7(settled)
             AND NOT EXISTS (SELECT FROM bookings b
                             WHERE b.id = c.booking_id AND c.resource_id IN (b.doctor_id, b.patient_id))""",
    ),
    Invariant(
        "a booking with a fee is confirmed by a charge that pays for it",
        "nobody is seen unpaid, and nobody's money is kept without a visit",
        """SELECT b.id::text FROM scope, bookings b
           WHERE b.id >= since AND b.status = 'confirmed' AND b.fee_amount > 0 AND b.updated_at < settled
             AND 1 <> (SELECT count(*) FROM payments p JOIN charges c ON c.payment_id = p.id
                       WHERE p.booking_id = b.id AND c.decision = 'applied' AND c.amount = b.fee_amount)""",
    ),
    Invariant(
        "every charge is decided on",
        "the booking's workflow says what it is for, or it goes back",
        """SELECT c.gateway || '/' || c.id
           FROM scope, charges c WHERE c.decision IS NULL AND c.recorded_at < settled""",
    ),
    Invariant(
        "what was captured pays for a booking, is kept, or has gone back or is about to",
        "not a paisa of a patient's is without a place",
        """SELECT p.id::text
           FROM scope, payments p
                JOIN LATERAL (SELECT COALESCE(sum(amount), 0) AS captured,
                                     COALESCE(sum(amount) FILTER (WHERE decision IS NULL), 0) AS undecided
                              FROM charges c WHERE c.payment_id = p.id) AS taken ON true
                JOIN LATERAL (SELECT COALESCE(sum(amount) FILTER (WHERE status = 'done'), 0) AS done,
                                     COALESCE(sum(amount) FILTER (WHERE status NOT IN ('done', 'proposed')), 0) AS open
                              FROM refunds r WHERE r.payment_id = p.id) AS back ON true
                LEFT JOIN LATERAL (SELECT COALESCE(sum(amount) FILTER (WHERE account = 'gateway'), 0) AS gateway,
                                          COALESCE(sum(amount) FILTER (WHERE account = 'patient'), 0) AS patient
                                   FROM ledger_movements m JOIN ledger_entries e ON e.movement_id = m.id
                                   WHERE m.payment_id = p.id) AS book ON true
           WHERE p.id >= since AND p.updated_at < settled
             AND (book.gateway, book.patient) <> (captured - done, -(undecided + open))""",
    ),
    Invariant(
        "what pays for a booking has a receipt, and receipts are numbered without a gap",
        "an auditor counts them",
        """SELECT p.id::text FROM scope, payments p JOIN charges c ON c.payment_id = p.id
           WHERE p.id >= since AND c.decision = 'applied' AND c.recorded_at < settled
             AND NOT EXISTS (SELECT FROM receipts r WHERE r.payment_id = p.id)
           UNION ALL
           SELECT y.year FROM receipt_years y
           WHERE y.last <> (SELECT count(*) FROM receipts r WHERE r.year = y.year AND r.serial <= y.last)""",
    ),
    Invariant(
        "every movement of the ledger balances",
        "money neither comes from nowhere nor goes there",
        """SELECT e.movement_id::text FROM scope, ledger_entries e
           WHERE e.movement_id >= since GROUP BY e.movement_id HAVING sum(e.amount) <> 0""",
    ),
    Invariant(
        "no day holds more bookings than its doctor takes",
        "bookings of one doctor queue up, and each one counts; those that stood when the cap was set may be more",
        # Whoever held the calendar while it was changed had begun at most a transaction's time before it was free.
        """SELECT c.doctor_id || ' on ' || of_day.day AS told
           FROM calendars c JOIN pg_timezone_names z ON z.name = c.availability->>'time_zone',
                LATERAL (SELECT (b.starts_at AT TIME ZONE z.name)::date AS day, count(*) AS number,
                                max(b.created_at) AS newest
                         FROM claims k JOIN bookings b ON b.id = k.booking_id AND b.doctor_id = k.resource_id
                         WHERE k.resource_id = c.doctor_id AND (k.expires_at IS NULL OR k.expires_at > now())
                         GROUP BY 1) AS of_day
           WHERE (c.availability->>'max_bookings_per_day')::bigint < of_day.number
             AND of_day.newest > c.updated_at + interval '10 seconds'""",
    ),
    Invariant(
        "extra hours say how one can meet, and nobody is away for more than a year at once",
        "an exception of another shape would be left out of the slots, or take the whole calendar",
        """SELECT id::text FROM availability_exceptions
           WHERE (kind = 'extra') <> (coalesce(cardinality(modes), 0) > 0)
              OR upper(during) - lower(during) > CASE kind WHEN 'extra' THEN interval '24 hours'
                                                      ELSE interval '366 days' END""",
    ),
    Invariant(
        "an unpaid booking says when its hold ends, and no other one does",
        "a hold without an end keeps its time from everybody for good",
        """SELECT id::text FROM bookings, scope
           WHERE id >= since AND (status IN ('held', 'awaiting_payment')) <> (expires_at IS NOT NULL)""",
    ),
    Invariant(
        "an unpaid hold ends when its time is up",
        "its workflow sleeps until then; one that stays has lost it",
        """SELECT id::text FROM bookings, scope
           WHERE id >= since AND status IN ('held', 'awaiting_payment') AND expires_at < settled""",
    ),
    Invariant(
        "a booking that was confirmed has its consultation, which is off when the booking is",
        "both are written in one transaction",
        """SELECT b.id::text FROM scope, bookings b LEFT JOIN consultations c ON c.id = b.id
           WHERE b.id >= since
             AND ((b.confirmed_at IS NOT NULL OR b.status IN ('confirmed', 'completed', 'no_show'))
                  <> (c.id IS NOT NULL) OR b.status = 'cancelled' AND c.status = 'scheduled')""",
    ),
    Invariant(
        "every consultation belongs to a booking",
        "nobody is seen whose time is not held",
        """SELECT c.id::text FROM consultations c, scope
           WHERE c.id >= since AND NOT EXISTS (SELECT FROM bookings b WHERE b.id = c.id)""",
    ),
    Invariant(
        "a request that was answered with a booking made one",
        "the transaction that does the work stores its outcome",
        """SELECT o.operation_id::text FROM operations o, scope
           WHERE o.action = 'bookings_create' AND o.outcome IS NOT NULL AND o.operation_id >= since
             AND NOT EXISTS (SELECT FROM bookings b WHERE b.id = o.operation_id)""",
    ),
    Invariant(
        "the request that made a booking knows it",
        "else whoever asks again with the same key is told something else",
        """SELECT b.id::text FROM scope, bookings b JOIN operations o ON o.operation_id = b.id
           WHERE b.id >= since AND o.outcome IS NULL""",
    ),
    Invariant(
        "every state of a booking was told as an event",
        "caches, mails and figures hear of it by events alone",
        """SELECT b.id::text FROM bookings b, scope
           WHERE b.id >= since AND b.status IN ('held', 'confirmed', 'expired', 'cancelled')
             AND NOT EXISTS (SELECT FROM events e
                             WHERE e.id >= since AND e.subject = b.id AND e.type = 'booking.' || b.status)""",
    ),
    Invariant(
        "every booking was audited",
        "its beginning and its end leave their trail in the transaction of the act",
        """SELECT b.id::text
           FROM scope, bookings b,
                LATERAL (VALUES (ARRAY['booking.create']),
                                (CASE b.status WHEN 'expired' THEN ARRAY['booking.expire']
                                               WHEN 'cancelled'
                                               THEN ARRAY['booking.cancel', 'booking.withdraw', 'booking.call_off']
                                               END)
                ) AS acts (names)
           WHERE b.id >= since AND names IS NOT NULL
             AND NOT EXISTS (SELECT FROM audit a
                             WHERE a.patient_id = b.patient_id AND a.subject = b.id AND a.action = ANY (names))""",
    ),
    Invariant(
        "a review is of a completed booking, by its patient and of its doctor",
        "a rating that anybody can add to says nothing",
        """SELECT r.id::text FROM scope, reviews r LEFT JOIN bookings b ON b.id = r.booking_id
           WHERE r.id >= since
             AND (b.status, b.patient_id, b.doctor_id) IS DISTINCT FROM ('completed', r.patient_id, r.doctor_id)""",
    ),
    Invariant(
        "a doctor's rating is the sum of the reviews that are published",
        "it is kept by what each review changes; a change that was lost would stay",
        """SELECT d.id::text
           FROM doctors d LEFT JOIN (SELECT doctor_id, count(*) AS number, sum(stars) AS stars FROM reviews
                                     WHERE state = 'published' GROUP BY doctor_id) r ON r.doctor_id = d.id
           WHERE (d.rating_count, d.rating_sum) <> (coalesce(r.number, 0), coalesce(r.stars, 0))""",
    ),
    Invariant(
        "the audit trail is sealed",
        "a row that waits for its seal can be changed unseen; the schedule seal-audit seals every five minutes",
        """SELECT a.id::text
           FROM scope, (SELECT id FROM audit
                        WHERE (audit.xid, id) > (SELECT last_xid, last_id
                                                 FROM (SELECT number, last_xid, last_id FROM audit_seals
                                                       UNION ALL VALUES (0, '0'::xid8, first_uuidv7('epoch')))
                                                 ORDER BY number DESC LIMIT 1)
                        ORDER BY audit.xid, id LIMIT 1000) AS a
           WHERE a.id < first_uuidv7(settled - interval '30 minutes')""",
    ),
    Invariant(
        "every consumer of events keeps up",
        "stale caches and unsent mails are what users notice first",
        """SELECT w.consumer FROM watermarks w, scope
           WHERE EXISTS (SELECT FROM events e
                         WHERE e.id >= since AND e.id < first_uuidv7(settled) AND (e.xid, e.id) > (w.xid, w.id))""",
    ),
    Invariant(
        "no patient is asked to move a visit for longer than they were told",
        "who chose no other time in time is called off and told so, and does not wait before an empty room",
        """SELECT b.id::text FROM scope, claims c JOIN bookings b ON b.id = c.booking_id
           WHERE b.move_by < settled AND b.starts_at > now()""",
    ),
    Invariant(
        "who may not practise is not verified, and has no booking to come",
        "a suspended doctor who is found, or sees somebody, is what a suspension is to prevent",
        """SELECT d.id::text FROM doctors d JOIN users u ON u.id = d.id, scope
           WHERE (d.suspended_at IS NOT NULL OR u.suspended_at IS NOT NULL OR NOT u.roles @> ARRAY['doctor'])
             AND (d.verified_at IS NOT NULL
                  OR d.updated_at < settled
                     AND EXISTS (SELECT FROM claims c JOIN bookings b ON b.id = c.booking_id
                                 WHERE c.resource_id = d.id AND b.doctor_id = d.id AND b.starts_at > now()
                                   AND b.status IN ('held', 'awaiting_payment', 'confirmed')))""",
    ),
    Invariant(
        "what was verified of a doctor is what the profile says",
        "patients trust the name and the licence that they read",
        """SELECT d.id::text FROM doctors d LEFT JOIN verifications v ON v.id = d.verification_id
           WHERE d.verified_at IS NOT NULL AND d.verification_id IS NOT NULL
             AND (v.state, v.full_name, v.registration_number, v.registration_council)
                 IS DISTINCT FROM ('approved', d.full_name, d.registration_number, d.registration_council)""",
    ),
    Invariant(
        "searches know every doctor who can be found",
        "who is missing there cannot be found by anybody, and who was suspended must not be",
        """SELECT COALESCE(d.id, l.doctor_id)::text
           FROM scope, (SELECT id FROM doctors WHERE verified_at IS NOT NULL) AS d
                FULL JOIN listings l ON l.doctor_id = d.id
           WHERE d.id IS NULL OR l.doctor_id IS NULL""",
    ),
    Invariant(
        "searches know of free times from at most a minute ago",
        "older ones send people to times that are gone; the worker's sweep has what is due done within seconds",
        """SELECT doctor_id::text FROM listings, scope WHERE passes_at < settled
           UNION ALL SELECT doctor_id::text FROM free_calendars, scope WHERE recompute_at < settled""",
    ),
    Invariant(
        "a doctor shows the one photo that is theirs and was not deleted",
        "else people see a stranger's face, or nothing once the deleted one is gone",
        """SELECT COALESCE(d.id, p.owner_id)::text
           FROM scope, (SELECT id, photo_id FROM doctors WHERE photo_id IS NOT NULL) AS d
                FULL JOIN (SELECT id, owner_id FROM documents WHERE purpose = 'photo' AND deleted_at IS NULL) AS p
                ON p.id = d.photo_id AND p.owner_id = d.id
           WHERE d.id IS NULL OR p.id IS NULL""",
    ),
    Invariant(
        "this month's and the next month's partitions exist",
        "without them no booking can be written",
        MISSING,
    ),
)
