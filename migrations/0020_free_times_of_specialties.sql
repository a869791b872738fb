-- Who of a specialty is free within some hours: both in one index, so that it leads to those alone of whom both is true.

-- As in `doctors`, whose triggers and the sweep keep it.
ALTER TABLE free_times ADD COLUMN specialties text[] NOT NULL DEFAULT '{}';
UPDATE free_times f SET specialties = d.specialties FROM doctors d WHERE d.id = f.doctor_id;

-- Searches within a time wait for this, some seconds at 100,000 doctors; the sweep alone writes there.
-- squawk-ignore require-concurrent-index-deletion
DROP INDEX free_times_by_hour;
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX free_times_by_hour ON free_times USING gin (hours, specialties) WITH (fastupdate = off);

-- Brings these doctors' rows here in line with what they are now. Called in the transaction that changes them.
CREATE OR REPLACE FUNCTION list_doctors(ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
BEGIN
    INSERT INTO name_words (word, slips)
        SELECT word, slips(word)
        FROM (SELECT DISTINCT unnest(search_words(full_name)) AS word
              FROM doctors WHERE id = ANY (ids) AND verified_at IS NOT NULL) AS named
        WHERE NOT EXISTS (SELECT FROM name_words known WHERE known.word = named.word)
        ORDER BY word ON CONFLICT DO NOTHING;
    DELETE FROM listings
        WHERE doctor_id IN (SELECT id FROM doctors WHERE id = ANY (ids) AND verified_at IS NULL);
    INSERT INTO listings AS was (doctor_id, verified_until, facets, stars_short, fee, video_fee, audio_fee, chat_fee)
        SELECT id, verified_until, facets_of(full_name, qualifications, specialties, languages, modes, gender),
               5 - COALESCE(rating_average, 0), COALESCE(lowest_fee, 9223372036854775807),
               COALESCE((fees->'video'->>'amount')::bigint, 9223372036854775807),
               COALESCE((fees->'audio'->>'amount')::bigint, 9223372036854775807),
               COALESCE((fees->'chat'->>'amount')::bigint, 9223372036854775807)
        FROM doctors WHERE id = ANY (ids) AND verified_at IS NOT NULL ORDER BY id
        ON CONFLICT (doctor_id) DO UPDATE
        SET verified_until = EXCLUDED.verified_until, facets = EXCLUDED.facets, stars_short = EXCLUDED.stars_short,
            fee = EXCLUDED.fee, video_fee = EXCLUDED.video_fee, audio_fee = EXCLUDED.audio_fee,
            chat_fee = EXCLUDED.chat_fee
        WHERE (was.verified_until, was.facets, was.stars_short, was.fee, was.video_fee, was.audio_fee, was.chat_fee)
              IS DISTINCT FROM (EXCLUDED.verified_until, EXCLUDED.facets, EXCLUDED.stars_short, EXCLUDED.fee,
                                EXCLUDED.video_fee, EXCLUDED.audio_fee, EXCLUDED.chat_fee);
    INSERT INTO listing_facets AS was (doctor_id, facets)
        SELECT doctor_id, facets FROM listings WHERE doctor_id = ANY (ids) ORDER BY doctor_id
        ON CONFLICT (doctor_id) DO UPDATE SET facets = EXCLUDED.facets WHERE was.facets <> EXCLUDED.facets;
    UPDATE free_times f SET specialties = d.specialties
        FROM (SELECT f.doctor_id, f.modes, d.specialties FROM free_times f JOIN doctors d ON d.id = f.doctor_id
              WHERE f.doctor_id = ANY (ids) AND f.specialties <> d.specialties
              ORDER BY f.doctor_id, f.modes FOR NO KEY UPDATE OF f) AS d
        WHERE (f.doctor_id, f.modes) = (d.doctor_id, d.modes);
    INSERT INTO free_calendars (doctor_id)
        SELECT doctor_id FROM listings WHERE doctor_id = ANY (ids) ORDER BY doctor_id ON CONFLICT DO NOTHING;
END $$;
