"""A hundred thousand doctors in a database of their own, made by SQL: the same each time, unevenly spread as in life.

Ids count from 1. Two in five doctors are of general medicine or pediatrics, one in a thousand of allergology. One in
five hundred is free of charge, one in three hundred calls their gender other.
"""

import asyncpg

COUNT = 100_000

_DOCTORS = """
CREATE TEMP TABLE firsts AS SELECT ARRAY[
    'Asha', 'José', 'Meera', 'Rahul', 'Fatima', 'Wei', 'Lakshmi', 'Omar', 'Priya', 'Karthik', 'Zadie', 'Jonas',
    'Élodie', 'Imran', 'Sunita', 'Kamau', 'Beatriz', 'Minh', 'Sita', 'Arjun', 'Farid', 'Hannah', 'Yusuf'] AS names;
CREATE TEMP TABLE lasts AS SELECT ARRAY[
    'Menon', 'Sharma', 'Kumar', 'Kumar', 'Kumar', 'Patel', 'Singh', 'Iyer', 'Khan', 'Nair', 'Fischer', 'Okafor',
    'Nguyen', 'Schäfer', 'Thapa', 'O''Brien', 'Oliveira', 'Haddad', 'Mutua', 'Krishnamurthy', 'Wong',
    'Garcia'] AS names;
CREATE TEMP TABLE fields AS SELECT ARRAY[
    'general_medicine', 'general_medicine', 'general_medicine', 'pediatrics', 'pediatrics', 'dermatology',
    'cardiology', 'gynecology', 'ent', 'psychiatry', 'orthopedics', 'neurology', 'ayurveda'] AS codes;
INSERT INTO users (id, email, password_hash, full_name, roles, time_zone, locale)
SELECT lpad(to_hex(n), 32, '0')::uuid, n || '@crowd.test', '', '', ARRAY['doctor'], 'Asia/Kolkata', 'en'
FROM generate_series(1, {count}) AS n;
INSERT INTO doctors (id, full_name, gender, specialties, languages, bio, qualifications, modes, fees, lowest_fee,
                     verified_at, rating_count, rating_sum)
SELECT lpad(to_hex(n), 32, '0')::uuid,
       'Dr. ' || firsts.names[1 + n * 7919 % 23] || ' ' || lasts.names[1 + n * 10007 % 22]
              || CASE n % 40 WHEN 0 THEN ' ' || chr(65 + n % 26) || 'a' || chr(97 + n / 40 % 26) || 'i' ELSE '' END,
       CASE WHEN n % 300 = 7 THEN 'other' WHEN n % 2 = 0 THEN 'female' ELSE 'male' END,
       CASE WHEN n % 1000 = 11 THEN ARRAY['allergology'] ELSE ARRAY[fields.codes[1 + n * 31 % 13]] END,
       CASE WHEN n % 2000 = 17 THEN ARRAY['ja'] WHEN n % 3 = 0 THEN ARRAY['en', 'hi'] ELSE ARRAY['en'] END,
       repeat('Sees people of all ages. ', 8), 'MBBS, MD', modes,
       (SELECT jsonb_object_agg(each, jsonb_build_object('amount', fee, 'currency', 'INR')) FROM unnest(modes) AS each),
       fee, now(), n % 4, n % 4 * (2 + n % 4)
FROM generate_series(1, {count}) AS n, firsts, lasts, fields,
     LATERAL (SELECT CASE n % 4 WHEN 0 THEN ARRAY['video'] WHEN 1 THEN ARRAY['video', 'chat']
                                ELSE ARRAY['video', 'audio', 'chat'] END AS modes,
                     CASE WHEN n % 500 = 3 THEN 0 ELSE 20000 + n * 7 % 97 * 1000 END AS fee) AS made;
INSERT INTO calendars (doctor_id, availability)
SELECT id, '{{"time_zone": "Asia/Kolkata", "slot_minutes": 30, "rules": []}}' FROM doctors;
"""

# Hours of 500 kinds. One doctor in ten has nothing free at all, one in a thousand works at an odd hour.
_TIMES = """
CREATE TEMP TABLE kinds AS
SELECT k, 10 + k % 3 * 10 AS length, starts,
       ARRAY(SELECT DISTINCT start / 60 FROM unnest(starts) AS start ORDER BY 1) AS hours
FROM generate_series(0, 499) AS k,
     LATERAL (SELECT (extract(epoch FROM now()) / 86400)::int + 1 AS tomorrow) AS base,
     LATERAL (SELECT ARRAY(
         SELECT (day * 1440 + minute)::int
         FROM generate_series(tomorrow, tomorrow + 9) AS day,
              generate_series(240 + k % 10 * 60, 360 + k % 10 * 60 + k % 5 * 60, 10 + k % 3 * 10) AS minute
         WHERE (day + k) % 7 < 5 ORDER BY 1) AS starts) AS made;
UPDATE kinds SET starts = (SELECT array_agg(start + 720) FROM unnest(starts) AS start), hours = (
    SELECT array_agg(hour + 12) FROM unnest(hours) AS hour) WHERE k = 499;
INSERT INTO free_times (doctor_id, modes, slot_minutes, notice_minutes, horizon_minutes, starts, hours, specialties)
SELECT id, CASE n % 4 WHEN 0 THEN 1 WHEN 1 THEN 5 ELSE 7 END, k.length, 30, 60 * 1440, k.starts, k.hours, specialties
FROM (SELECT id, specialties, ('x' || right(id::text, 8))::bit(32)::int AS n FROM doctors) AS l
JOIN kinds k ON k.k = CASE WHEN n % 1000 = 500 THEN 499 ELSE n * 13 % 499 END
WHERE n % 10 <> 3;
UPDATE free_calendars SET recompute_at = now() + interval '1 day';
UPDATE listings l
SET next_start = starts[1], next_video_start = starts[1],
    next_audio_start = CASE WHEN modes & 2 <> 0 THEN starts[1] ELSE next_audio_start END,
    next_chat_start = CASE WHEN modes & 4 <> 0 THEN starts[1] ELSE next_chat_start END,
    passes_at = to_timestamp((starts[1] - 30) * 60.0)
FROM free_times f WHERE f.doctor_id = l.doctor_id;
"""


async def settle(db: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Insert the doctors, into a database without what a search reads."""
    await db.execute("SET synchronous_commit = off")
    await db.execute(_DOCTORS.format(count=COUNT))


async def give_times(db: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Store their free times. The index is made afterwards, which takes a tenth of keeping it meanwhile."""
    made = await db.fetchval("SELECT pg_get_indexdef('free_times_by_hour'::regclass)")
    await db.execute("DROP INDEX free_times_by_hour")
    await db.execute(_TIMES)
    await db.execute(made)
    await db.execute("VACUUM ANALYZE doctors, calendars, listings, listing_facets, free_calendars, free_times")
