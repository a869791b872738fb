-- Exceptions of three kinds: away, busy with something else, or there at other hours than the weekly ones.

ALTER TABLE availability_exceptions
ADD COLUMN kind text NOT NULL DEFAULT 'leave',
ADD COLUMN modes text[],
ADD COLUMN note text;
COMMENT ON COLUMN availability_exceptions.modes IS 'of extra hours; NULL for a leave or block';
COMMENT ON COLUMN availability_exceptions.note IS 'of the doctor, for the doctor alone';

-- Checked as a row is written. Those from before are leave, as the default says, and need no look.
ALTER TABLE availability_exceptions
ADD CONSTRAINT availability_exceptions_kind CHECK (
    CASE kind
        WHEN 'extra' THEN
            modes IS NOT NULL AND cardinality(modes) > 0 AND modes <@ ARRAY['video', 'audio', 'chat']
            AND upper(during) - lower(during) <= interval '24 hours'
        WHEN 'leave' THEN modes IS NULL
        WHEN 'block' THEN modes IS NULL
        ELSE FALSE
    END
) NOT VALID;
