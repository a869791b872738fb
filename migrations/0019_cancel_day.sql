-- A patient whose doctor gave up the day of the visit is asked to choose another time.

-- On the parent it reaches every partition; without a default no row is written.
ALTER TABLE bookings ADD COLUMN move_by timestamptz;
COMMENT ON COLUMN bookings.move_by IS 'until when the patient is to choose another time; then the booking is called off';
