"""Who lives in the demo: 200 doctors from ten countries, and the two whom everybody books. The same at every start."""

import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any, NamedTuple

from amrutam.domain.availability import Availability
from amrutam.domain.catalogue import Language, Specialty, specialty_name
from amrutam.domain.common import Mode, Money
from amrutam.domain.doctor import EditDoctor, Gender, Registration
from amrutam.domain.exceptions import AddException, Kind
from amrutam.domain.hours import Rule, Weekday
from amrutam.domain.wallclock import first_moment

DOCTORS = 200
HORIZON_DAYS = 60
_SEED = 20260101
_INDIAN = 0.5
# Every so many of the 200: who takes 12 a day at most, and who has exceptions.
_CAPPED, _ON_LEAVE, _WITH_CLINIC, _AT_THE_DENTIST = 4, 10, 7, 6
_OFFICE_DAYS = (Weekday.MON, Weekday.TUE, Weekday.WED, Weekday.THU, Weekday.FRI)


class DemoDoctor(NamedTuple):
    """A doctor of the demo; `number` counts from 0."""

    number: int
    email: str
    profile: EditDoctor
    availability: Availability


class _Country(NamedTuple):
    """Where doctors come from. `fee` is what a visit costs at least there, in minor units."""

    time_zone: str
    council: str
    currency: str
    fee: int
    languages: Sequence[Language]
    women: Sequence[str]
    men: Sequence[str]
    surnames: Sequence[str]


_COUNTRIES = (
    _Country(
        "Asia/Kolkata", "National Medical Commission", "INR", 30000,
        (Language.ENGLISH, Language.HINDI, Language.TAMIL, Language.BENGALI, Language.MARATHI, Language.KANNADA),
        ("Ananya", "Kavya", "Lakshmi", "Meera", "Priya", "Sunita"), ("Arjun", "Imran", "Karthik", "Rahul", "Vikram"),
        ("Banerjee", "Desai", "Iyer", "Khan", "Kulkarni", "Nair", "Patel", "Reddy", "Sharma", "Singh"),
    ),
    _Country(
        "Asia/Dubai", "Dubai Health Authority", "AED", 15000, (Language.ARABIC, Language.ENGLISH, Language.URDU),
        ("Aisha", "Fatima", "Layla"), ("Omar", "Khalid", "Yusuf"), ("Al Mansoori", "Haddad", "Rahman", "Saleh"),
    ),
    _Country(
        "Europe/London", "General Medical Council", "GBP", 3500, (Language.ENGLISH, Language.PUNJABI, Language.POLISH),
        ("Amelia", "Harriet", "Zadie"), ("George", "Hamza", "Oliver"), ("Ahmed", "Clarke", "Hughes", "Okafor", "Smith"),
    ),
    _Country(
        "America/New_York", "New York State Board for Medicine", "USD", 6000, (Language.ENGLISH, Language.SPANISH),
        ("Emily", "Grace", "Maria"), ("Daniel", "James", "Luis"), ("Cohen", "Garcia", "Johnson", "Nguyen", "Williams"),
    ),
    _Country(
        "Europe/Berlin", "Ärztekammer Berlin", "EUR", 4000, (Language.GERMAN, Language.ENGLISH, Language.TURKISH),
        ("Charlotte", "Elif", "Hannah"), ("Emre", "Jonas", "Lukas"), ("Fischer", "Schäfer", "Weber", "Demir"),
    ),
    _Country(
        "Asia/Singapore", "Singapore Medical Council", "SGD", 4000,
        (Language.ENGLISH, Language.CHINESE, Language.MALAY, Language.TAMIL),
        ("Hui Min", "Nurul", "Wei Ling"), ("Farid", "Jun Hao", "Kai"), ("Chua", "Lim", "Ng", "Tan", "Wong"),
    ),
    _Country(
        "Africa/Nairobi", "Kenya Medical Practitioners and Dentists Council", "KES", 150000,
        (Language.ENGLISH, Language.SWAHILI),
        ("Achieng", "Njeri", "Wanjiku"), ("Kamau", "Otieno", "Mwangi"), ("Kariuki", "Mutua", "Odhiambo", "Wafula"),
    ),
    _Country(
        "America/Sao_Paulo", "Conselho Regional de Medicina de São Paulo", "BRL", 15000,
        (Language.PORTUGUESE, Language.ENGLISH),
        ("Beatriz", "Camila", "Júlia"), ("Gabriel", "João", "Rafael"), ("Almeida", "Costa", "Oliveira", "Souza"),
    ),
    _Country(
        "Australia/Sydney", "Medical Board of Australia", "AUD", 7000, (Language.ENGLISH, Language.VIETNAMESE),
        ("Chloe", "Isla", "Mai"), ("Jack", "Liam", "Minh"), ("Kelly", "Nguyen", "O'Brien", "Taylor"),
    ),
    _Country(
        "Asia/Kathmandu", "Nepal Medical Council", "NPR", 60000, (Language.NEPALI, Language.HINDI, Language.ENGLISH),
        ("Asmita", "Sabina", "Sita"), ("Bikash", "Prakash", "Suman"), ("Adhikari", "Gurung", "Shrestha", "Thapa"),
    ),
)  # fmt: skip

_QUALIFICATIONS: Mapping[Specialty, str] = {
    Specialty.GENERAL_MEDICINE: "MBBS, MD (General Medicine)",
    Specialty.AYURVEDA: "BAMS, MD (Ayurveda)",
    Specialty.CARDIOLOGY: "MBBS, MD, DM (Cardiology)",
    Specialty.DERMATOLOGY: "MBBS, MD (Dermatology)",
    Specialty.ENDOCRINOLOGY: "MBBS, MD, DM (Endocrinology)",
    Specialty.ENT: "MBBS, MS (ENT)",
    Specialty.GASTROENTEROLOGY: "MBBS, MD, DM (Gastroenterology)",
    Specialty.GYNECOLOGY: "MBBS, MS (Obstetrics and Gynaecology)",
    Specialty.NEUROLOGY: "MBBS, MD, DM (Neurology)",
    Specialty.ORTHOPEDICS: "MBBS, MS (Orthopaedics)",
    Specialty.PEDIATRICS: "MBBS, MD (Paediatrics)",
    Specialty.PSYCHIATRY: "MBBS, MD (Psychiatry)",
}

# When doctors work, by the clock on their wall. The last ones work through midnight.
_HOURS = (
    ((time(9), time(13)), (time(16), time(20))),
    ((time(8), time(12)), (time(13), time(17))),
    ((time(10), time(18)),),
    ((time(17), time(22)),),
    ((time(22), time(2)),),
)


def doctors() -> Iterator[DemoDoctor]:
    """The 200. Every specialty of the demo comes in turn."""
    chance = random.Random(_SEED)  # noqa: S311 - makes people up, the same ones each time
    specialties = list(_QUALIFICATIONS)
    for number in range(DOCTORS):
        country = _COUNTRIES[0] if chance.random() < _INDIAN else chance.choice(_COUNTRIES[1:])
        specialty = specialties[number % len(specialties)]
        modes = [Mode.VIDEO, *chance.sample([Mode.AUDIO, Mode.CHAT], k=chance.randint(0, 2))]
        yield DemoDoctor(
            number,
            f"doctor-{number + 1:03}@demo.amrutam.test",
            _profile(chance, country, specialty, modes, number),
            _availability(chance, country, modes, cap=12 if number % _CAPPED == 0 else None),
        )


def _profile(
    chance: random.Random, country: _Country, specialty: Specialty, modes: Sequence[Mode], number: int
) -> EditDoctor:
    gender = chance.choice((Gender.FEMALE, Gender.MALE))
    first = chance.choice(country.women if gender is Gender.FEMALE else country.men)
    name = f"Dr. {first} {chance.choice(country.surnames)}"
    years = chance.randint(2, 38)
    video = country.fee * chance.randint(2, 6) // 2
    fees = {mode: video if mode is Mode.VIDEO else video * 3 // 4 for mode in modes}
    return EditDoctor(
        full_name=name,
        gender=gender,
        specialties=[specialty],
        languages=chance.sample(country.languages, k=min(2, len(country.languages))),
        bio=f"{name} has practised {specialty_name(specialty).lower()} for {years} years.",
        years_of_experience=years,
        qualifications=_QUALIFICATIONS[specialty],
        registration=Registration(number=f"{10_000 + 37 * number}", council=country.council),
        fees={mode: Money(amount=amount, currency=country.currency) for mode, amount in fees.items()},
    )


def _availability(chance: random.Random, country: _Country, modes: Sequence[Mode], cap: int | None) -> Availability:
    hours = chance.choice(_HOURS)
    days = [*_OFFICE_DAYS, Weekday.SAT] if chance.random() < 1 / 3 else _OFFICE_DAYS
    return Availability(
        time_zone=country.time_zone,
        slot_minutes=chance.choice((15, 20, 30)),
        buffer_after_minutes=chance.choice((0, 0, 5)),
        minimum_notice_minutes=chance.choice((15, 30, 60, 120)),
        horizon_days=HORIZON_DAYS,
        max_bookings_per_day=cap,
        rules=tuple(
            Rule(weekday=day, start=start, end=end, modes=tuple(modes)) for day in days for start, end in hours
        ),
    )


def exceptions(practice: DemoDoctor, today: date) -> Iterator[AddException]:
    """What some of the 200 do in the weeks after `today`: a week's leave, a Sunday's clinic, an hour at the dentist."""

    def on(days_ahead: int, hour: int, hours: int, **more: Any) -> AddException:
        wall = datetime.combine(today + timedelta(days=days_ahead), time(hour))
        starts_at = first_moment(wall, practice.availability.zone)
        return AddException(starts_at=starts_at, ends_at=starts_at + timedelta(hours=hours), **more)

    number, sunday = practice.number, 6 - today.weekday() + 7
    if number >= DOCTORS:
        return
    if number % _ON_LEAVE == 0:
        yield on(10, 0, 7 * 24, note="Family visit")
    if number % _WITH_CLINIC == 0:
        yield on(sunday, 10, 4, kind=Kind.EXTRA, modes=practice.availability.rules[0].modes)
    if number % _AT_THE_DENTIST == 0:
        yield on(3, 11, 1, kind=Kind.BLOCK, note="Dentist")


def priced_doctor() -> DemoDoctor:
    """`doctor@`: INR 500 by video, so that a booking waits for its payment."""
    profile = EditDoctor(
        full_name="Dr. Asha Menon",
        gender=Gender.FEMALE,
        specialties=[Specialty.CARDIOLOGY, Specialty.GENERAL_MEDICINE],
        languages=[Language.ENGLISH, Language.HINDI, Language.MALAYALAM],
        bio="Dr. Asha Menon looks after hearts, by video, every day of the week.",
        years_of_experience=14,
        qualifications=_QUALIFICATIONS[Specialty.CARDIOLOGY],
        registration=Registration(number="KMC-48213", council="Karnataka Medical Council"),
        fees={Mode.VIDEO: Money(amount=50_000, currency="INR")},
    )
    hours = Availability(
        time_zone="Asia/Kolkata",
        slot_minutes=30,
        minimum_notice_minutes=30,
        horizon_days=HORIZON_DAYS,
        rules=_every_day(time(8), time(22), [Mode.VIDEO]),
    )
    return DemoDoctor(DOCTORS, "doctor@demo.amrutam.test", profile, hours)


def free_doctor() -> DemoDoctor:
    """`doctor2@`: free, every hour of every day, at once, in every mode."""
    profile = EditDoctor(
        full_name="Dr. Rohan Kapoor",
        gender=Gender.MALE,
        specialties=[Specialty.GENERAL_MEDICINE],
        languages=[Language.ENGLISH, Language.HINDI],
        bio="Dr. Rohan Kapoor sees everyone, at any hour, and asks for nothing.",
        years_of_experience=8,
        qualifications=_QUALIFICATIONS[Specialty.GENERAL_MEDICINE],
        registration=Registration(number="DMC-20771", council="Delhi Medical Council"),
        fees={mode: Money(amount=0, currency="INR") for mode in Mode},
    )
    hours = Availability(
        time_zone="Asia/Kolkata",
        slot_minutes=15,
        horizon_days=HORIZON_DAYS,
        rules=_every_day(time(0), time(0), list(Mode)),
    )
    return DemoDoctor(DOCTORS + 1, "doctor2@demo.amrutam.test", profile, hours)


def applicant(number: int) -> DemoDoctor:
    """`doctor3@`: with a registration that nobody has looked at yet."""
    profile = EditDoctor(
        full_name="Dr. Ishaan Joshi",
        gender=Gender.MALE,
        specialties=[Specialty.DERMATOLOGY],
        languages=[Language.ENGLISH, Language.MARATHI],
        bio="Dr. Ishaan Joshi looks after skin, and is new here.",
        years_of_experience=5,
        qualifications=_QUALIFICATIONS[Specialty.DERMATOLOGY],
        registration=Registration(number="MMC-90417", council="Maharashtra Medical Council"),
        fees={Mode.VIDEO: Money(amount=40_000, currency="INR")},
    )
    hours = Availability(
        time_zone="Asia/Kolkata",
        slot_minutes=20,
        horizon_days=HORIZON_DAYS,
        rules=_every_day(time(10), time(18), [Mode.VIDEO]),
    )
    return DemoDoctor(number, "doctor3@demo.amrutam.test", profile, hours)


def _every_day(start: time, end: time, modes: Sequence[Mode]) -> tuple[Rule, ...]:
    return tuple(Rule(weekday=day, start=start, end=end, modes=tuple(modes)) for day in Weekday)
