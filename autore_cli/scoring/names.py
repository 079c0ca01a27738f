"""When two names are the same name."""

import unicodedata


def normalise(name: str) -> str:
    """The form in which names are compared: all white space removed, then Unicode NFC, case kept.

    White space is the only thing that DocRED's tokenisation adds (`Anna " Nan " Holm`, `Harbour 's`), so a
    tokenised alias and the same name in natural text have the same form. Letters, case and punctuation still count:
    `US` is neither `us` nor `U.S.`.
    """
    return unicodedata.normalize("NFC", "".join(name.split()))
