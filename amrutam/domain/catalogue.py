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
    GENERAL_SURGERY = "general_surgery"
    GERIATRICS = "geriatrics"
    GYNECOLOGY = "gynecology"
    HEMATOLOGY = "hematology"
    HEPATOLOGY = "hepatology"
    HOMEOPATHY = "homeopathy"
    INFECTIOUS_DISEASES = "infectious_diseases"
    NEPHROLOGY = "nephrology"
    NEUROLOGY = "neurology"
    NEUROSURGERY = "neurosurgery"
    NUTRITION = "nutrition"
    OCCUPATIONAL_THERAPY = "occupational_therapy"
    ONCOLOGY = "oncology"
    OPHTHALMOLOGY = "ophthalmology"
    ORTHOPEDICS = "orthopedics"
    PAIN_MEDICINE = "pain_medicine"
    PEDIATRICS = "pediatrics"
    PHYSIOTHERAPY = "physiotherapy"
    PLASTIC_SURGERY = "plastic_surgery"
    PSYCHIATRY = "psychiatry"
    PSYCHOLOGY = "psychology"
    PULMONOLOGY = "pulmonology"
    REHABILITATION = "rehabilitation"
    REPRODUCTIVE_MEDICINE = "reproductive_medicine"
    RHEUMATOLOGY = "rheumatology"
    SEXOLOGY = "sexology"
    SIDDHA = "siddha"
    SLEEP_MEDICINE = "sleep_medicine"
    SPEECH_THERAPY = "speech_therapy"
    UNANI = "unani"
    UROLOGY = "urology"
    VASCULAR_SURGERY = "vascular_surgery"
    YOGA_AND_NATUROPATHY = "yoga_and_naturopathy"


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
    """A language by its code in BCP 47: of ISO 639-1, else of ISO 639-3. Those of India's constitution are all here."""

    ARABIC = "ar"
    ASSAMESE = "as"
    BENGALI = "bn"
    BHOJPURI = "bho"
    BODO = "brx"
    BURMESE = "my"
    CHINESE = "zh"
    DOGRI = "doi"
    DUTCH = "nl"
    ENGLISH = "en"
    FILIPINO = "fil"
    FRENCH = "fr"
    GERMAN = "de"
    GREEK = "el"
    GUJARATI = "gu"
    HEBREW = "he"
    HINDI = "hi"
    INDIAN_SIGN_LANGUAGE = "ins"
    INDONESIAN = "id"
    ITALIAN = "it"
    JAPANESE = "ja"
    KANNADA = "kn"
    KASHMIRI = "ks"
    KONKANI = "kok"
    KOREAN = "ko"
    MAITHILI = "mai"
    MALAY = "ms"
    MALAYALAM = "ml"
    MANIPURI = "mni"
    MARATHI = "mr"
    NEPALI = "ne"
    ODIA = "or"
    PASHTO = "ps"
    PERSIAN = "fa"
    POLISH = "pl"
    PORTUGUESE = "pt"
    PUNJABI = "pa"
    RUSSIAN = "ru"
    SANSKRIT = "sa"
    SANTALI = "sat"
    SINDHI = "sd"
    SINHALA = "si"
    SPANISH = "es"
    SWAHILI = "sw"
    TAMIL = "ta"
    TELUGU = "te"
    THAI = "th"
    TIBETAN = "bo"
    TULU = "tcy"
    TURKISH = "tr"
    UKRAINIAN = "uk"
    URDU = "ur"
    VIETNAMESE = "vi"


def language_name(language: Language) -> str:
    """What it is called in English."""
    return language.name.replace("_", " ").title()
