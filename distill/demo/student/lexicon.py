"""The nouns of the student's world: workplaces, things, places, people and invented words.

Plain tables, nothing drawn here except inflections. The workplaces are chosen apart from the
shipped tool sets (no home, shop or travel desk), so that what the student learns of those comes
from distillation alone. It does not know verbs (`actions`) nor sentences (`dialogues`).
"""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass

from .tables import rows, split

EVERYDAY = """
apron arrow badge banner basin basket bead bell belt bench bicycle binder blanket board boot
bottle bowl bracket branch brick broom brush bucket bundle button cabin cable cage candle canvas
carpet cart cheese cherry chest clip cloak cloth coat coin collar comb cone copper cord cork
corner cotton cradle crown crystal cup cushion drawer dress drum engine envelope fabric feather
fence ferry fiddle filter flag flask flute folder fork fountain frame fruit funnel garden garlic
gate gear ginger glass glove grape gravel grill guitar hammer handle harness hat heater helmet
herb hinge hook horn horse hose ink iron ivory jacket jar jewel jug juice kettle key kite knife
knob ladder lamp lantern leaf leather lemon lens lever lid linen liquid lock log magnet mango map
marble mask mat meadow medal melon metal mirror model mop motor mug mushroom nail napkin needle
net notebook nut oar olive onion orange oven paddle paint pan panel paper parcel patch path peach
pear pearl pebble pencil pepper piano pillow pin pipe plate plum pocket pond porch pot potato
powder prism pulley pump purse puzzle quilt radio raft rail rake ramp reed ribbon rice ring river
robe rod roof root rope rose rubber ruler saddle sail salt sand scale scarf screen screw seat seed
shelf shell shield shirt shoe shovel shutter sieve silk silver sink sketch skirt sled sleeve soap
sock spade spark speaker sponge spoon spring stage stamp statue steam steel stone stool stove
straw string sugar suit switch table tank tape tent thread ticket tile timber tin torch towel
tower toy track tray trumpet trunk tube tulip tunnel turnip umbrella vest violin wagon wall wallet
walnut watch water wheel whistle willow window wire wood wool wrench yarn zipper
"""

ADJECTIVES = """
amber ancient basic bold bright broad calm clean clear cool crisp curved damp dark deep dense
double dusty early empty faded fine flat fresh gentle giant golden grand green grey heavy high
hollow inner large late left light little long loose low lower lucky mild modern narrow new
northern old open outer pale plain portable quick quiet red right rough round royal rusty sharp
shiny short silent silver simple slim slow small smooth soft solid southern spare square steady
steep still striped strong sturdy tall thick thin tidy tiny upper warm western white wide wild
wooden yellow
"""

PLACE_KINDS = """
shed barn yard annex hall gallery wing cellar attic loft corridor terrace courtyard pavilion depot
bay dock pier platform lobby arcade tower basement vault workshop storeroom clearing meadow field
ridge slope pond grove lane gate ramp hut cabin tent stand booth counter aisle corner
"""

PLACE_MARKS = """
north south east west upper lower old new main back front left right outer inner central riverside
hillside red blue green white far long small great first second third
"""

PLACE_ALIASES = {
    "annex": "extension", "corridor": "passage", "terrace": "patio", "depot": "warehouse",
    "lobby": "entrance", "vault": "strongroom", "storeroom": "stockroom", "meadow": "grassland",
    "pond": "pool", "lane": "alley", "hut": "cottage", "booth": "stall", "cellar": "wine cellar",
    "yard": "backyard", "field": "acre", "attic": "top floor", "stand": "kiosk", "grove": "wood",
}  # fmt: skip
"""Other words for kinds of places."""

FIRST_NAMES = """
Ada Adil Agnes Aiko Alba Alma Amara Amir Anders Anika Anton Arlo Asha Astrid Bashir Beatrix Bela
Bianca Boris Brigid Bruno Callum Carmen Cecil Chidi Clara Cyrus Dagny Dalia Darius Delia Dmitri
Dora Edith Edwin Elena Elias Elif Emre Enzo Esme Esther Ewan Fabian Farah Felix Fiona Flora
Florian Freya Gareth Gemma Georgia Gideon Gita Greta Gustav Hamid Hanna Harriet Hector Heidi Helga
Henrik Hugo Ida Idris Ilse Imani Ines Ingrid Iris Isaac Ivan Jana Jasper Joanna Jonas Judith Julia
Juno Kai Kamil Karim Katya Keiko Kenji Kofi Lars Layla Leah Leif Lena Leon Lila Linus Lorna Lucia
Ludwig Luis Magnus Maia Malik Marek Marta Matteo Maud Mei Milan Milo Mina Miriam Moira Nadia Naomi
Nell Niamh Nico Nils Nina Noor Nora Odette Olga Omar Oscar Otto Owen Paloma Pavel Pedro Petra
Phoebe Piotr Priya Quinn Rafael Rania Ravi Rhoda Rohan Rosa Rufus Ruth Saanvi Sabine Salma Samir
Selma Sergei Silas Simone Sofia Soren Stella Sven Tamara Tariq Tessa Theo Thora Tilda Tobias Ulla
Uma Ursula Vera Viktor Viola Wanda Wes Wilma Xavier Yara Yosef Yuki Yusuf Zara Zelda Zeno Zoran
"""

SURNAMES = """
Abara Ahlgren Alvarez Amsel Ashby Bakker Barlow Becker Beltran Bianchi Bishop Blom Borg Brandt
Calloway Cardoso Castell Cho Clarke Conti Cruz Dalton Danso Demir Dixon Dubois Eklund Ellery Engel
Faulkner Ferrari Fischer Fontaine Forde Frost Garcia Gibbs Granger Gupta Haas Hale Hansen Hayashi
Holm Hughes Ibsen Iqbal Ivanov Jansen Jensen Joshi Kaplan Kato Keane Keller Khan Kowalski Kruger
Lambert Larsen Laurent Lindqvist Lopez Lund Maddox Mancini Marsh Mehta Mensah Meyer Moreau Morita
Mwangi Nakamura Navarro Nguyen Nolan Novak Nyberg Oduya Okafor Olsen Ortega Osman Owusu Park Patel
Pereira Petrov Quigley Ramos Rao Reyes Rossi Rowe Sato Schmidt Silva Singh Sorensen Steiner Sutton
Suzuki Tanaka Thorne Tran Ueda Vargas Vidal Vogel Walsh Weber Weiss Winther Wolff Yamada Yilmaz
Zhang Ziegler
"""

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip

_ONSETS = "b br c ch cl d dr f fl g gr h j k kl l m n p pl pr qu r s sh sk sp st t th tr v w wh y z"
_VOWELS = "a e i o u ai ea ee oa oo ou"
_CODAS = "b ck d ft g l ld ll lt m mp n nd nk nt p r rd rk rn rt s sh sk st t th x zz"


@dataclass(frozen=True)
class Noun:
    """A thing tools deal with; `said` holds the ways a user may name it."""

    name: str
    said: tuple[str, ...]

    @property
    def stem(self) -> str:
        """The noun as it stands in tool and parameter names."""
        return self.name.replace("'", "").replace("-", " ").replace(" ", "_")


@dataclass(frozen=True)
class Workplace:
    """Where a dialogue takes place."""

    name: str
    employer: str
    nouns: tuple[Noun, ...]


@functools.cache
def words(table: str) -> tuple[str, ...]:
    """Split one of the tables above."""
    return tuple(table.split())


@functools.cache
def workplaces() -> tuple[Workplace, ...]:
    """Return all workplaces."""
    return tuple(
        Workplace(name, employer, _nouns(things)) for name, employer, things in rows("workplaces")
    )


def _nouns(things: str) -> tuple[Noun, ...]:
    groups = [thing.split("=") for thing in split(things)]
    return tuple(Noun(group[0], tuple(group)) for group in groups)


def plural(noun: str) -> str:
    """Inflect the head of a noun phrase ("jar of honey" -> "jars of honey")."""
    head, of, rest = noun.partition(" of ")
    if head.endswith(("s", "x", "z", "ch", "sh")):
        head += "es"
    elif head.endswith("y") and head[-2] not in "aeiou":
        head = head[:-1] + "ies"
    else:
        head += "s"
    return head + of + rest


def article(noun: str) -> str:
    """Return "a" or "an" for a noun phrase."""
    return "an" if noun[0].lower() in "aeio" else "a"


def invented(rng: random.Random) -> str:
    """Make up a word, so that copying and matching do not depend on known words."""
    syllables = rng.choice((2, 2, 2, 3))
    word = "".join(
        rng.choice(words(_ONSETS)) + rng.choice(words(_VOWELS)) for _ in range(syllables)
    )
    return word + rng.choice(words(_CODAS))


def invented_noun(rng: random.Random) -> Noun:
    """Make up a thing: an everyday word with an adjective, or a word that does not exist."""
    if rng.random() < 0.5:
        name = f"{rng.choice(words(ADJECTIVES))} {rng.choice(words(EVERYDAY))}"
    elif rng.random() < 0.5:
        name = f"{invented(rng)} {rng.choice(words(EVERYDAY))}"
    else:
        name = invented(rng)
    return Noun(name, (name,))


def place(rng: random.Random) -> str:
    """Name a place ("north shed", "bay 7", "Oslo gallery")."""
    kind = rng.choice(words(PLACE_KINDS))
    if rng.random() < 0.25:
        return kind
    if rng.random() < 0.2:
        return f"{kind} {rng.choice((rng.randint(1, 24), rng.choice('ABCDEFGH')))}"
    if rng.random() < 0.15:
        return f"{rng.choice(words(SURNAMES))} {kind}"
    if rng.random() < 0.2:
        return f"{invented(rng)} {kind}"
    return f"{rng.choice(words(PLACE_MARKS))} {kind}"


def person(rng: random.Random) -> str:
    """Name a person, with or without surname."""
    first = rng.choice(words(FIRST_NAMES))
    return first if rng.random() < 0.5 else f"{first} {rng.choice(words(SURNAMES))}"
