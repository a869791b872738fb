-- What a search reads: one narrow row for each verified doctor, the words that find them, and the times they are free.

-- Trusted: the owner of the database may create it without being a superuser.
CREATE EXTENSION IF NOT EXISTS unaccent;

-- unaccent() itself is only STABLE, as its dictionary could be exchanged: ours is named, and is never changed.
CREATE FUNCTION plain_text(words text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN lower(public.unaccent('public.unaccent'::regdictionary, normalize(words, NFKC)));

-- The words of a name, without accents, apostrophes, signs and double ones, in order.
CREATE FUNCTION search_words(words text) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN ARRAY(
    SELECT word FROM regexp_split_to_table(
        regexp_replace(public.plain_text(words), '[''’`]', '', 'g'), '[][[:space:].,;:!?()/\\"_+*=<>|&%#@~^{}$-]+'
    ) WITH ORDINALITY AS split (word, place)
    WHERE word <> '' GROUP BY word ORDER BY min(place));

-- A word, and what is left of it when one letter is missing: two words that differ by one slip (a letter wrong, missing,
-- too many, or two exchanged) have one of these in common. Short words must be right.
CREATE FUNCTION slips(word text) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN ARRAY(
    SELECT DISTINCT left(word, place) || substr(word, place + 2)
    FROM generate_series(0, CASE WHEN length(word) BETWEEN 4 AND 40 THEN length(word) - 1 ELSE -1 END) AS place
    UNION SELECT word);

-- What a doctor is found by, each with its kind: s specialty, l language, m mode, g gender, n word of the name, p first
-- one to three letters of such a word, w word of the qualifications.
CREATE FUNCTION facets_of(
    full_name text, qualifications text, specialties text[], languages text[], modes text[], gender text
) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ARRAY(
    SELECT 's:' || each FROM unnest(specialties) AS each
    UNION SELECT 'l:' || each FROM unnest(languages) AS each
    UNION SELECT 'm:' || each FROM unnest(modes) AS each
    UNION SELECT 'g:' || gender WHERE gender IS NOT NULL
    UNION SELECT kind || left(each, size)
    FROM unnest(public.search_words(full_name)) AS each,
         (VALUES ('n:', 200), ('p:', 1), ('p:', 2), ('p:', 3)) AS part (kind, size)
    WHERE each NOT IN ('dr', 'doctor', 'prof')
    UNION SELECT 'w:' || each FROM unnest((public.search_words(qualifications))[:40]) AS each);

-- The words of all names, never taken away: a query's words are set right by them before doctors are looked up.
CREATE TABLE name_words (
    word text PRIMARY KEY,
    slips text[] NOT NULL
);

-- One row for each doctor whose registration was checked. Everything a search filters and sorts by, and nothing else.
CREATE TABLE listings (
    doctor_id uuid PRIMARY KEY,
    verified_until timestamptz NOT NULL,
    facets text[] NOT NULL,
    stars_short real NOT NULL,
    fee bigint NOT NULL,
    video_fee bigint NOT NULL,
    audio_fee bigint NOT NULL,
    chat_fee bigint NOT NULL,
    next_start bigint NOT NULL DEFAULT 9223372036854775807,
    next_video_start bigint NOT NULL DEFAULT 9223372036854775807,
    next_audio_start bigint NOT NULL DEFAULT 9223372036854775807,
    next_chat_start bigint NOT NULL DEFAULT 9223372036854775807,
    passes_at timestamptz NOT NULL DEFAULT 'infinity'
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.1);
COMMENT ON COLUMN listings.stars_short IS 'how many stars the average is below five; five without a review';
COMMENT ON COLUMN listings.fee IS 'of the cheapest mode, in minor units; the largest bigint where there is none';
COMMENT ON COLUMN listings.next_start IS 'the soonest free time in any mode, in minutes since 1970; the largest bigint where there is none';
COMMENT ON COLUMN listings.passes_at IS 'when next_start or its like is to be looked up anew in free_times';

-- Apart from listings, whose rows change with each booking: what is here changes with the profile alone.
CREATE TABLE listing_facets (
    doctor_id uuid PRIMARY KEY REFERENCES listings ON DELETE CASCADE,
    facets text[] NOT NULL
);

-- When a doctor's free times are to be computed anew from the calendar.
CREATE TABLE free_calendars (
    doctor_id uuid PRIMARY KEY REFERENCES listings ON DELETE CASCADE,
    recompute_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 80);

-- The free times of a doctor, those with the same modes in one row.
CREATE TABLE free_times (
    doctor_id uuid NOT NULL REFERENCES listings ON DELETE CASCADE,
    modes bigint NOT NULL CHECK (modes BETWEEN 1 AND 7),
    slot_minutes bigint NOT NULL,
    notice_minutes bigint NOT NULL,
    horizon_minutes bigint NOT NULL,
    -- squawk-ignore prefer-bigint-over-int
    starts integer[] NOT NULL CHECK (cardinality(starts) > 0),
    -- squawk-ignore prefer-bigint-over-int
    hours integer[] NOT NULL,
    PRIMARY KEY (doctor_id, modes)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
COMMENT ON COLUMN free_times.modes IS 'the sum of 1 video, 2 audio, 4 chat';
COMMENT ON COLUMN free_times.starts IS 'when each one begins, in minutes since 1970, in order';
COMMENT ON COLUMN free_times.hours IS 'in which hours since 1970 one begins';

-- Brings these doctors' rows here in line with what they are now. Called in the transaction that changes them.
CREATE FUNCTION list_doctors(ids uuid[]) RETURNS void
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
    INSERT INTO free_calendars (doctor_id)
        SELECT doctor_id FROM listings WHERE doctor_id = ANY (ids) ORDER BY doctor_id ON CONFLICT DO NOTHING;
END $$;

CREATE FUNCTION list_changed_doctors() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
BEGIN
    PERFORM list_doctors(ARRAY(SELECT id FROM changed));
    RETURN NULL;
END $$;

-- Whoever is there already, while doctors are still free for others and there are no indexes to keep. What changed
-- meanwhile follows once the triggers stand: no transaction of the application lasts a minute.
SELECT list_doctors(ARRAY(SELECT id FROM doctors WHERE verified_at IS NOT NULL));

CREATE INDEX name_words_by_slip ON name_words USING gin (slips);
CREATE INDEX name_words_by_part ON name_words USING gin (word gin_trgm_ops);
CREATE INDEX listings_by_next ON listings (next_start, doctor_id);
CREATE INDEX listings_by_next_video ON listings (next_video_start, doctor_id);
CREATE INDEX listings_by_next_audio ON listings (next_audio_start, doctor_id);
CREATE INDEX listings_by_next_chat ON listings (next_chat_start, doctor_id);
CREATE INDEX listings_by_fee ON listings (fee, doctor_id);
CREATE INDEX listings_by_video_fee ON listings (video_fee, doctor_id);
CREATE INDEX listings_by_audio_fee ON listings (audio_fee, doctor_id);
CREATE INDEX listings_by_chat_fee ON listings (chat_fee, doctor_id);
CREATE INDEX listings_by_rating ON listings (stars_short, next_start, doctor_id);
CREATE INDEX listings_that_pass ON listings (passes_at);
CREATE INDEX listing_facets_by_facet ON listing_facets USING gin (facets) WITH (fastupdate = off);
CREATE INDEX free_calendars_by_age ON free_calendars (recompute_at);
CREATE INDEX free_times_by_hour ON free_times USING gin (hours) WITH (fastupdate = off);

CREATE TRIGGER list_added AFTER INSERT ON doctors
REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION list_changed_doctors();
CREATE TRIGGER list_edited AFTER UPDATE ON doctors
REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION list_changed_doctors();
SELECT list_doctors(ARRAY(SELECT id FROM doctors WHERE updated_at > now() - interval '1 minute'));

-- Every calendar is about to be read: of what was told before, nobody needs to hear any more.
INSERT INTO watermarks (consumer, xid) VALUES ('free_times', pg_snapshot_xmin(pg_current_snapshot()));

GRANT SELECT, INSERT ON name_words TO amrutam_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON listings, listing_facets, free_calendars, free_times TO amrutam_app;
