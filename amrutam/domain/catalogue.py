"""The kept lists: what a doctor may practise and speak. Codes are stable; names are for people."""

from collections.abc import Mapping
from enum import StrEnum


class Specialty(StrEnum):
    """A field of medicine."""

    ALLERGOLOGY = "allergology"
    AYURVEDA = "ayurveda"
    CARDIOLOGY = "cardiology"
    DENTISTRY = "dentistry"
    DERMATOLOGY = "dermatology"
    DIABETOLOGY = "diabetology"
    ENDOCRINOLOGY = "endocrinology"
    ENT = "ent"
    GASTROENTEROLOGY = "gastroenterology"
    GENERAL_MEDICINE = "general_medicine"
    GYNECOLOGY = "gynecology"
    HOMEOPATHY = "homeopathy"
    NEPHROLOGY = "nephrology"
    NEUROLOGY = "neurology"
    NUTRITION = "nutrition"
    ONCOLOGY = "oncology"
    OPHTHALMOLOGY = "ophthalmology"
    ORTHOPEDICS = "orthopedics"
    PEDIATRICS = "pediatrics"
    PHYSIOTHERAPY = "physiotherapy"
    PSYCHIATRY = "psychiatry"
    PSYCHOLOGY = "psychology"
    PULMONOLOGY = "pulmonology"
    RHEUMATOLOGY = "rheumatology"
    UROLOGY = "urology"


# Where the code itself, in words, is not what people say.
_OWN_NAMES: Mapping[Specialty, str] = {
    Specialty.ENT: "Ear, nose and throat",
    Specialty.GYNECOLOGY: "Gynecology and obstetrics",
    Specialty.NUTRITION: "Nutrition and dietetics",
}


def specialty_name(specialty: Specialty) -> str:
    """What people call it."""
    return _OWN_NAMES.get(specialty, specialty.replace("_", " ").capitalize())


class Language(StrEnum):
    """A language by its ISO 639-1 code."""

    ARABIC = "ar"
    ASSAMESE = "as"
    BENGALI = "bn"
    CHINESE = "zh"
    DUTCH = "nl"
    ENGLISH = "en"
    FRENCH = "fr"
    GERMAN = "de"
    GUJARATI = "gu"
    HINDI = "hi"
    INDONESIAN = "id"
    ITALIAN = "it"
    JAPANESE = "ja"
    KANNADA = "kn"
    KASHMIRI = "ks"
    KOREAN = "ko"
    MALAY = "ms"
    MALAYALAM = "ml"
    MARATHI = "mr"
    NEPALI = "ne"
    ODIA = "or"
    PERSIAN = "fa"
    POLISH = "pl"
    PORTUGUESE = "pt"
    PUNJABI = "pa"
    RUSSIAN = "ru"
    SANSKRIT = "sa"
    SINDHI = "sd"
    SINHALA = "si"
    SPANISH = "es"
    SWAHILI = "sw"
    TAMIL = "ta"
    TELUGU = "te"
    TURKISH = "tr"
    UKRAINIAN = "uk"
    URDU = "ur"
    VIETNAMESE = "vi"
