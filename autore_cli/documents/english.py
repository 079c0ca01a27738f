"""English words that tell where sentences end and where names begin; all in lower case, without the stop."""
# ruff: noqa: SIM905 (as a list literal, each word would fill a line)

ABBREVIATIONS_INSIDE = frozenset(
    "adm al approx brig c ca capt cf cmdr col cpl dr ed eds esp fig figs fl fr ft gen gov hon lt maj messrs mme mlle"
    " mr mrs ms mt mts no nos nr op p pp pres prof pvt rep rev sen sgt sr st sta ste ven viz vol vols vs v".split()
)
"""Abbreviations that need something after them, and so end no sentence."""

ABBREVIATIONS_ANYWHERE = frozenset(
    "assn bros co corp dept dist est etc inc jr llc ltd plc univ jan feb mar apr jun jul aug sep sept oct nov dec mon"
    " tue wed thu fri sat sun".split()
)
"""Abbreviations that may stand at the end of a sentence or within it."""

OPENERS = frozenset(
    "a after all although an and another as at because before but by despite during each from for he her his however"
    " if in it its many more most near of on one other our several she since so some such that the their then there"
    " these they this those through to today two under until was we were what when where while who with you"
    " your".split()
)
"""Words that, with a capital, open a sentence rather than go on with a name."""

NAME_ENDS = frozenset("assn bros co corp dept esq inc jr ltd sr st univ".split())
"""Abbreviations that names end with, stop included."""

FUNCTION_WORDS = frozenset(
    "a about after also although an and are as at be because been before but by during for from had has have he her"
    " him his how if in into is it its many more most nor not of off on or our out over per she since so some such"
    " than that the their them then there these they this those through to under until up was we were when where"
    " which while who whom whose will with would you your".split()
)
"""Words that don't begin or end a name."""
