-- A patient whose doctor gave up the day of the visit is asked to choose another time.

-- On the parent it reaches every partition; without a default no row is written.
ALTER TABLE bookings ADD COLUMN move_by timestamptz, ADD COLUMN move_for uuid;
COMMENT ON COLUMN bookings.move_by IS 'until when the patient is to choose another time; then the booking is called off';
COMMENT ON COLUMN bookings.move_for IS 'the exception by which the doctor gave the day up';

ALTER TABLE availability_exceptions ADD COLUMN given_up date;
COMMENT ON COLUMN availability_exceptions.given_up IS 'the date on the doctor''s calendar, of a leave by which a day was given up';
