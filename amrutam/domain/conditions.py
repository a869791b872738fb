"""What people type when they look for a doctor, and which specialties they mean by it.

A kept list: complaints and illnesses in everyday English and in Hindi as it is written in Latin letters, and the names
of those who treat them. No advice follows from it: it widens a search.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from amrutam.domain.catalogue import Specialty, specialty_name
from amrutam.domain.spelling import Dictionary, words_of

S = Specialty

# Names of four letters are many, and one letter from some complaint: khan is no khaj, José no nose.
_FORGIVEN_LENGTH = 5

# What each specialty and whoever practises it are called, beside its name in the catalogue.
_CALLED: Mapping[Specialty, str] = {
    S.ALLERGOLOGY: "allergist, allergy specialist, allergy doctor, immunologist",
    S.AYURVEDA: "ayurvedic, ayurvedic doctor, vaidya, vaid, ayurved, panchakarma",
    S.CARDIOLOGY: "cardiologist, heart doctor, heart specialist, cardiac",
    S.DENTISTRY: "dentist, dental, tooth doctor, orthodontist, daant ka doctor",
    S.DERMATOLOGY: "dermatologist, skin, skin doctor, skin specialist, cosmetologist, trichologist, hair specialist",
    S.DIABETOLOGY: "diabetologist, sugar doctor, sugar specialist, diabetes specialist",
    S.ENDOCRINOLOGY: "endocrinologist, hormone doctor, hormone specialist, thyroid specialist",
    S.ENT: "ear nose throat, ear specialist, otolaryngologist, otorhinolaryngology, throat specialist",
    S.GASTROENTEROLOGY: "gastroenterologist, stomach doctor, gastro, gastric specialist, digestion doctor",
    S.GENERAL_MEDICINE: """
        general physician, physician, family doctor, gp, general practitioner, internal medicine, mbbs""",
    S.GYNECOLOGY: """
        gynecologist, gynaecologist, gynaecology, gynae, obstetrician, obstetrics, lady doctor, womens health""",
    S.HOMEOPATHY: "homeopath, homeopathic, homoeopathy, homeopathic doctor",
    S.NEPHROLOGY: "nephrologist, kidney doctor, kidney specialist",
    S.NEUROLOGY: "neurologist, brain doctor, nerve doctor, neuro, brain specialist",
    S.NUTRITION: "nutritionist, dietician, dietitian, diet, dietetics",
    S.ONCOLOGY: "oncologist, cancer doctor, cancer specialist",
    S.OPHTHALMOLOGY: "ophthalmologist, eye doctor, eye specialist, optometrist, aankh ka doctor",
    S.ORTHOPEDICS: """
        orthopedist, orthopaedics, orthopaedic, orthopedic, bone doctor, bone specialist, ortho, haddi ka doctor""",
    S.PEDIATRICS: "pediatrician, paediatrician, paediatrics, child doctor, child specialist, kids doctor, baby doctor",
    S.PHYSIOTHERAPY: "physiotherapist, physio, physical therapy, physical therapist",
    S.PSYCHIATRY: "psychiatrist, mental doctor, mental health",
    S.PSYCHOLOGY: """
        psychologist, counsellor, counselor, therapist, counselling, therapy, psychotherapist, mental health""",
    S.PULMONOLOGY: "pulmonologist, lung doctor, chest physician, chest specialist, lung specialist",
    S.RHEUMATOLOGY: "rheumatologist, arthritis doctor, joint specialist",
    S.UROLOGY: "urologist, urine doctor, urine specialist, andrologist",
}

# Complaints and illnesses, with those who see them most.
_TREATED: Mapping[tuple[Specialty, ...], str] = {
    (S.GENERAL_MEDICINE,): """
        fever, bukhar, tez bukhar, cold, flu, influenza, viral, viral fever, weakness, kamzori, kamjori, tiredness,
        fatigue, thakan, body pain, body ache, badan dard, dengue, malaria, typhoid, chikungunya, covid, corona,
        checkup, check up, full body checkup, infection, sepsis, dehydration, loss of appetite, bhook na lagna,
        sweating, chills, medical certificate, vaccination, prescription, second opinion, low blood pressure, low bp,
        heat stroke, loo lagna""",
    (S.GENERAL_MEDICINE, S.ENT): "sardi, jukam, zukam, nazla, runny nose, blocked nose, stuffy nose, common cold",
    (S.GENERAL_MEDICINE, S.PEDIATRICS): "chickenpox, chicken pox, measles, mumps, khasra, chechak",
    (
        S.GENERAL_MEDICINE,
        S.PULMONOLOGY,
    ): "cough, khansi, khasi, dry cough, sookhi khansi, balgam, phlegm, chest congestion",
    (
        S.GENERAL_MEDICINE,
        S.NEUROLOGY,
    ): "headache, sir dard, sar dard, sirdard, dizziness, chakkar, chakkar aana, fainting",
    (S.GENERAL_MEDICINE, S.GASTROENTEROLOGY): """
        stomach pain, pet dard, pait dard, stomach ache, abdominal pain, loose motion, loose motions, dast, diarrhea,
        diarrhoea, vomiting, ulti, nausea, food poisoning, worms, dysentery, pechish""",
    (S.CARDIOLOGY,): """
        heart, dil, heart attack, palpitations, palpitation, heart failure, angina, cholesterol, high cholesterol,
        ecg, echo, bypass, stent, pacemaker, arrhythmia, irregular heartbeat, dhadkan, dil ki bimari, heart disease,
        heart block""",
    (S.CARDIOLOGY, S.GENERAL_MEDICINE): "high blood pressure, blood pressure, bp, high bp, hypertension, swollen feet",
    (S.CARDIOLOGY, S.PULMONOLOGY): "chest pain, seene mein dard, chhati mein dard, chest tightness",
    (
        S.PULMONOLOGY,
        S.CARDIOLOGY,
    ): "breathlessness, shortness of breath, saans phoolna, saans ki takleef, breathing problem",
    (S.PULMONOLOGY,): """
        asthma, dama, lungs, lung, copd, bronchitis, pneumonia, tuberculosis, tb, wheezing, inhaler, smoking, quit
        smoking, sleep apnea, emphysema, lung infection""",
    (
        S.ALLERGOLOGY,
        S.DERMATOLOGY,
    ): "skin allergy, hives, urticaria, pitti, itching allergy, food allergy, khujli allergy",
    (
        S.ALLERGOLOGY,
        S.ENT,
    ): "allergy, allergies, allergic, dust allergy, hay fever, sneezing, chheenk, pollen, sinus allergy",
    (S.DERMATOLOGY,): """
        skin rash, rash, acne, pimple, pimples, muhase, muhanse, eczema, psoriasis, itching, khujli, khaj, ringworm,
        daad, daad khaj, fungal infection, scabies, hair loss, hair fall, hairfall, baal jhadna, bald, baldness,
        dandruff, rusi, vitiligo, safed daag, pigmentation, melasma, dark spots, dark circles, jhaiyan, mole, moles,
        wart, warts, boil, boils, phode, nail infection, sunburn, dry skin, oily skin, scars, scar, stretch marks,
        tanning, wrinkles, skin, chamdi, herpes, shingles, burn, corn, tattoo removal, laser hair removal, alopecia,
        lice, juen""",
    (S.DIABETOLOGY, S.ENDOCRINOLOGY): """
        diabetes, diabetic, sugar, blood sugar, high sugar, madhumeh, insulin, prediabetes, hba1c, low sugar,
        gestational diabetes, sugar ki bimari""",
    (S.ENDOCRINOLOGY,): """
        thyroid, hypothyroid, hypothyroidism, hyperthyroid, hyperthyroidism, hormone, hormones, hormonal imbalance,
        goitre, goiter, ghenga, growth problem, steroids""",
    (S.ENDOCRINOLOGY, S.GYNECOLOGY): "pcos, pcod, facial hair",
    (S.NUTRITION, S.ENDOCRINOLOGY): "obesity, motapa, weight gain, overweight, weight loss, vajan kam karna",
    (S.NUTRITION,): "diet plan, diet chart, healthy eating, nutrition, gain weight, vitamin deficiency, protein, keto",
    (S.ENT,): """
        ear, ear pain, earache, kaan dard, kaan mein dard, ear infection, ear wax, hearing, hearing loss, kam sunai
        dena, deaf, tinnitus, ringing in ear, vertigo, nose, naak, nose bleed, nosebleed, naksir, sinus, sinusitis,
        throat, sore throat, throat pain, gala dard, gale mein dard, gala kharab, tonsils, tonsillitis, tonsil, hoarse
        voice, snoring, kharate, voice loss, polyps, deviated septum, swallowing problem""",
    (S.GASTROENTEROLOGY,): """
        acidity, gas, pet mein gas, indigestion, badhazmi, heartburn, acid reflux, gerd, constipation, kabz, kabj,
        ulcer, stomach ulcer, liver, jaundice, piliya, hepatitis, fatty liver, cirrhosis, ibs, irritable bowel,
        colitis, crohns, bloating, gallstones, gall bladder, pancreatitis, piles, bawaseer, hemorrhoids, haemorrhoids,
        fissure, fistula, rectal bleeding, endoscopy, digestion, pachan, stomach, pet, burping, lactose intolerance,
        celiac, blood in stool""",
    (S.GYNECOLOGY,): """
        pregnancy, pregnant, garbh, garbhavastha, periods, period pain, period problem, mahwari, masik dharm,
        irregular periods, missed period, heavy bleeding, white discharge, safed pani, infertility, ivf, conceive,
        menopause, contraception, birth control, abortion, miscarriage, fibroid, fibroids, endometriosis, ovarian
        cyst, ovary, uterus, bachedani, vaginal infection, vaginal itching, breast pain, breast lump, delivery,
        antenatal, pap smear, morning sickness, breastfeeding, menstruation, cramps""",
    (S.UROLOGY, S.NEPHROLOGY): "kidney stone, kidney stones, pathri, gurde ki pathri, blood in urine",
    (S.UROLOGY, S.GENERAL_MEDICINE): "uti, urine infection, burning urination, peshab mein jalan, frequent urination",
    (S.UROLOGY,): """
        urine, peshab, prostate, erectile dysfunction, premature ejaculation, male infertility, low sperm count,
        circumcision, vasectomy, bladder, urine leakage, incontinence, testicle pain, hydrocele, varicocele,
        impotence, low testosterone""",
    (
        S.NEPHROLOGY,
    ): "kidney, gurda, kidney failure, dialysis, creatinine, high creatinine, protein in urine, kidney pain",
    (S.NEUROLOGY,): """
        migraine, aadha sir dard, epilepsy, seizure, seizures, fits, mirgi, stroke, paralysis, lakwa, parkinson,
        parkinsons, tremor, tremors, memory loss, dementia, alzheimer, alzheimers, numbness, sunn, tingling,
        jhunjhuni, neuropathy, nerve pain, nerves, brain, multiple sclerosis, facial palsy, bells palsy, neuralgia,
        head injury, brain tumor""",
    (S.NEUROLOGY, S.ORTHOPEDICS): "sciatica, slip disc, slipped disc, spine, carpal tunnel, cervical",
    (S.ORTHOPEDICS, S.PHYSIOTHERAPY): """
        back pain, kamar dard, peeth dard, neck pain, gardan dard, knee pain, ghutne ka dard, ghutno mein dard,
        shoulder pain, kandhe ka dard, frozen shoulder, heel pain, edi mein dard, sprain, moch, muscle pain, ligament,
        ligament tear, sports injury, tennis elbow, elbow pain, ankle pain, hip pain, leg pain, pair dard, wrist pain,
        stiff neck, posture""",
    (
        S.ORTHOPEDICS,
    ): "fracture, haddi, bone, bones, knee replacement, osteoporosis, broken bone, plaster, bone pain, dislocation",
    (S.ORTHOPEDICS, S.RHEUMATOLOGY): "joint pain, jodo ka dard, jodon ka dard, joints, osteoarthritis, swollen joints",
    (S.RHEUMATOLOGY, S.ORTHOPEDICS): "arthritis, gathiya, gout, uric acid, high uric acid",
    (
        S.RHEUMATOLOGY,
    ): "rheumatoid arthritis, lupus, autoimmune, fibromyalgia, ankylosing spondylitis, spondylitis, sjogren",
    (
        S.PHYSIOTHERAPY,
    ): "exercise, rehab, rehabilitation, stroke rehab, mobility, massage therapy, physiotherapy at home",
    (S.PEDIATRICS,): """
        baby, child, children, kids, newborn, infant, bachcha, bacha, bachche, child fever, baby fever, colic,
        teething, vaccination for baby, baby vaccine, diaper rash, growth of child, bed wetting, baby not eating,
        child cough, toddler""",
    (S.PEDIATRICS, S.PSYCHOLOGY): "autism, adhd, hyperactive child, learning disability, speech delay, child behaviour",
    (S.PSYCHIATRY, S.PSYCHOLOGY): """
        anxiety, ghabrahat, chinta, depression, udasi, avsad, stress, tanav, panic, panic attack, panic attacks,
        insomnia, neend na aana, neend, sleeplessness, sleep problem, sleep, ocd, ptsd, trauma, suicidal thoughts,
        anger, gussa, mood swings, phobia, fear, loneliness, burnout, eating disorder, gaming addiction""",
    (
        S.PSYCHIATRY,
    ): "bipolar, schizophrenia, psychosis, hallucination, hallucinations, addiction, nasha, alcoholism, sharab, drugs",
    (
        S.PSYCHOLOGY,
    ): "relationship, marriage, breakup, divorce, grief, exam stress, couple, self esteem, counselling, parenting",
    (S.ONCOLOGY,): """
        cancer, tumor, tumour, chemotherapy, chemo, radiation, leukemia, leukaemia, lymphoma, breast cancer, lung
        cancer, oral cancer, mouth cancer, cervical cancer, prostate cancer, blood cancer, rasoli, lump, gaanth,
        biopsy""",
    (S.OPHTHALMOLOGY,): """
        eye, eyes, aankh, aankhein, eye pain, aankh dard, aankh mein dard, red eye, red eyes, aankh lal, blurred
        vision, blurry vision, dhundhla dikhna, cataract, motiyabind, glaucoma, kala motia, conjunctivitis, pink eye,
        dry eyes, itchy eyes, watery eyes, spectacles, chashma, glasses, lasik, squint, retina, eye infection, stye,
        floaters, vision, eyesight""",
    (S.DENTISTRY,): """
        toothache, tooth pain, daant dard, dant dard, daant mein dard, tooth, teeth, daant, cavity, cavities, keeda
        laga daant, gum, gums, masude, bleeding gums, gum bleeding, root canal, braces, wisdom tooth, teeth whitening,
        teeth cleaning, bad breath, muh ki badbu, denture, dentures, dental implant, crown, tooth extraction, tooth
        sensitivity, mouth ulcer, chhale""",
    (
        S.AYURVEDA,
    ): "jadi booti, herbal, dosha, vata, pitta, kapha, detox, abhyanga, natural treatment, ashwagandha, desi ilaj",
}


class Meaning(NamedTuple):
    """What a phrase stands for: those who are called so, and those who treat it."""

    called: frozenset[Specialty]
    treating: frozenset[Specialty]


class Phrase(NamedTuple):
    """How many of the words it is made of, what it means, and whether it was written without a slip."""

    length: int
    meaning: Meaning
    literal: bool


def phrase_at(words: Sequence[str], place: int) -> Phrase | None:
    """The longest known phrase that begins at `place`, typing mistakes forgiven; None where there is none."""
    meanings, dictionary = _kept()
    for length in range(min(4, len(words) - place), 0, -1):
        typed = " ".join(words[place : place + length])
        if nearest := dictionary.nearest(typed) or _begun(typed):
            called = frozenset[Specialty]().union(*(meanings[each].called for each in nearest))
            treating = frozenset[Specialty]().union(*(meanings[each].treating for each in nearest))
            return Phrase(length, Meaning(called, treating - called), literal=nearest == [typed])
    return None


def _begun(typed: str) -> list[str]:
    """The names of specialties and of who practises them that begin so: they are typed until there is something."""
    if len(typed) < _FORGIVEN_LENGTH - 1:
        return []
    return sorted({phrase for _, phrase in _names() if phrase.startswith(typed)})


@cache
def _kept() -> tuple[Mapping[str, Meaning], Dictionary]:
    called, treating = dict[str, set[Specialty]](), dict[str, set[Specialty]]()
    for specialty, phrase in _names():
        called.setdefault(phrase, set()).add(specialty)
    for specialties, phrases in _TREATED.items():
        for phrase in _phrases(phrases):
            treating.setdefault(phrase, set()).update(specialties)
    meanings = {
        phrase: Meaning(frozenset(called.get(phrase, ())), frozenset(treating.get(phrase, ())))
        for phrase in called.keys() | treating.keys()
    }
    return meanings, Dictionary(meanings, forgiven_length=_FORGIVEN_LENGTH)


@cache
def _names() -> list[tuple[Specialty, str]]:
    named = list[tuple[Specialty, str]]()
    for specialty in Specialty:
        for phrase in (specialty, specialty_name(specialty).replace(",", " "), *_phrases(_CALLED.get(specialty, ""))):
            named.append((specialty, " ".join(words_of(phrase))))
    return named


def _phrases(listed: str) -> Iterator[str]:
    for phrase in listed.split(","):
        if words := words_of(phrase):
            yield " ".join(words)
