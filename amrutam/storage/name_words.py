"""The words of doctors' names, by which a typed word is set right before doctors are looked up."""

from amrutam.domain.doctor_search import MOST_WORDS, is_like
from amrutam.storage.pool import Connection

# Words of names that one typed word may stand for.
_LIKE = 40


async def words_of(db: Connection, text: str) -> tuple[list[str], dict[str, list[str]]]:
    """The words of a text, and for each one the words of doctors' names that it may stand for."""
    rows = await db.fetch(
        """SELECT asked.word, array_agg(known.word) FILTER (WHERE known.word IS NOT NULL) AS names,
                  array_agg(similarity(known.word, asked.word)) AS likeness
           FROM unnest((search_words($1))[:$2]) WITH ORDINALITY AS asked (word, place)
                LEFT JOIN LATERAL (
                    (SELECT word FROM name_words n WHERE n.word = asked.word)
                    UNION (SELECT word FROM name_words n
                           WHERE length(asked.word) > 3 AND n.word LIKE '%' || asked.word || '%' ORDER BY word LIMIT $3)
                    UNION (SELECT word FROM name_words n
                           WHERE length(asked.word) > 3 AND (n.slips && slips(asked.word) OR n.word % asked.word)
                           ORDER BY similarity(n.word, asked.word) DESC, word LIMIT $3)) AS known ON true
           GROUP BY asked.word, asked.place ORDER BY asked.place""",
        text, MOST_WORDS, _LIKE,
    )  # fmt: skip
    names = {
        row["word"]: [
            name
            for name, likeness in zip(row["names"], row["likeness"], strict=True)
            if is_like(row["word"], name, likeness)
        ]
        for row in rows
        if row["names"]
    }
    return [row["word"] for row in rows], names
