"""Made-up documents to measure with: their length, and how many names and facts they hold, are about Re-DocRED's."""

import random
from collections.abc import Iterator

from autore_cli.records import Document

GIVEN = ("Mara", "Jonas", "Edith", "Tomas", "Irina", "Felix", "Aino", "Henrik", "Lucia", "Bram", "Selma", "Oskar")
FAMILY = ("Lindqvist", "Halvorsen", "Marchetti", "Okafor", "Brandt", "Sorel", "Kovacs", "Petrov", "Aldana", "Whitlock")
TOWNS = ("Oslo", "Bergen", "Turin", "Vienna", "Lisbon", "Ghent", "Riga", "Porto", "Leipzig", "Geneva", "Tampere")
COUNTRIES = ("Norway", "Italy", "Austria", "Portugal", "Belgium", "Latvia", "Germany", "Switzerland", "Finland")
FIELDS = ("marine biology", "astronomy", "civil engineering", "modern history", "organic chemistry", "music theory")
SENTENCES = (
    "{person} ( born {day} {month} {year} in {town} ) is a scholar of {field} from {country}.",
    "{person} studied at the University of {town}, where the teachers were {other} and {third}.",
    "In {year}, {person} joined the {town} Institute of {field}, which belongs to the Republic of {country}.",
    "{other} founded the {family} Company in {town}, the capital of a province of {country}, in {year}.",
    "The {family} Prize was given to {person} and {other} in {month} {year}.",
    "{person} married {third}, a member of the Parliament of {country}, and they had a daughter, {fourth}.",
    "The book {field} in {country} was written by {other} and published by the {family} Company in {year}.",
    "From {year} to {later}, {third} was the director of the {town} Museum in {country}.",
    "{person} died in {town}, {country}, on {day} {month} {later}.",
)
MONTHS = ("January", "March", "April", "June", "July", "October", "December")
LENGTH = 10


def documents(count: int) -> Iterator[Document]:
    """Documents of about 1,050 characters, as Re-DocRED has them, always the same."""
    rng = random.Random(0)  # noqa: S311 - not for secrets
    for number in range(count):
        people = [f"{given} {rng.choice(FAMILY)}" for given in rng.sample(GIVEN, 4)]
        sentences = [
            sentence(template, people, rng) for template in rng.choices(SENTENCES, k=LENGTH + rng.randint(-2, 3))
        ]
        yield Document(f"made-up-{number}", " ".join(sentences))


def sentence(template: str, people: list[str], rng: random.Random) -> str:
    """One sentence about people in a document."""
    year = rng.randint(1850, 1990)
    return template.format(
        person=people[0],
        other=people[1],
        third=people[2],
        fourth=people[3],
        family=rng.choice(FAMILY),
        town=rng.choice(TOWNS),
        country=rng.choice(COUNTRIES),
        field=rng.choice(FIELDS),
        day=rng.randint(1, 28),
        month=rng.choice(MONTHS),
        year=year,
        later=year + rng.randint(5, 40),
    )
