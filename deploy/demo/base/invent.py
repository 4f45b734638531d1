"""Invented names, numbers and facts, so that copying what was never seen is learned."""

import random
import re
import string
import tomllib
from dataclasses import dataclass
from pathlib import Path

_SYLLABLES = (
    "ba be bo bra ca che co da de do dra el fa fen fi ga gor gra ha hel in jo ka kel ki la len li "
    "lo lu ma mar mi mon na nel ni no or pa pe pol qui ra ren ri ro sa sen si sta su ta tel ti tor "
    "tri u va vel vi vo wen xa yo za zen zi"
).split()
_ENDINGS = ("", "", "n", "r", "s", "x", "th", "ck", "ton", "man", "by", "field", "a", "o", "ix")
_CHOICES: dict[str, tuple[str, ...]] = {
    "day": tuple("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()),
    "month": tuple("January February March April May June July August September October".split()),
    "unit": ("minutes", "hours", "days", "weeks", "months", "years", "business days", "seconds"),
    "thing": tuple(
        "kettle lamp printer router drill heater camera pump scale mixer fan tablet sensor "
        "speaker toaster scooter tent boiler thermostat vacuum oven bicycle radio clock".split()
    ),
    "part": tuple(
        "filter|lid|button|handle|hose|cable|brush|blade|cover|seal|display|power button|"
        "water tank|charger|base plate|remote control|fuse|valve|screw|nozzle|belt".split("|")
    ),
    "chemical": ("bleach", "alcohol", "vinegar", "petrol", "solvents", "steel wool", "acid"),
    "colour": tuple("red green blue white black yellow orange grey silver purple".split()),
    "problem": (
        "the tank is empty",
        "the lid is open",
        "the battery is low",
        "the filter is blocked",
        "it is too hot",
        "there is no connection",
        "water leaks out",
        "the motor is stuck",
        "the cable is damaged",
        "an update is running",
    ),
    "tech": ("Bluetooth", "Wi-Fi", "USB", "Zigbee", "Ethernet"),
    "payment": ("credit card", "invoice", "bank transfer", "cash", "direct debit", "voucher"),
    "role": (
        "managing director",
        "head nurse",
        "data protection officer",
        "chief physician",
        "team lead",
        "finance director",
        "safety officer",
        "project manager",
    ),
    "symptom": tuple(
        "fever|headache|nausea|dizziness|rash|cough|fatigue|bleeding|swelling|itching|chest pain|"
        "low blood pressure|shortness of breath|diarrhea|asthma".split("|")
    ),
}


@dataclass(frozen=True)
class Fact:
    """One statement and the questions it answers, as templates."""

    text: tuple[str, ...]
    ask: tuple[str, ...]


def load_facts() -> tuple[Fact, ...]:
    """The fact templates beside this module."""
    raw = tomllib.loads(Path(__file__).with_name("facts.toml").read_text(encoding="utf-8"))
    return tuple(Fact(tuple(item["text"]), tuple(item["ask"])) for item in raw["fact"])


def name(rng: random.Random) -> str:
    """An invented proper name of one word."""
    syllables = "".join(rng.choice(_SYLLABLES) for _ in range(rng.choice((1, 2, 2, 3))))
    return (syllables + rng.choice(_ENDINGS)).capitalize()


def number(rng: random.Random) -> str:
    """A whole number of one to five digits."""
    return str(rng.randrange(1, 10 ** rng.choice((1, 2, 2, 3, 3, 4, 5))))


def _decimal(rng: random.Random) -> str:
    return number(rng) if rng.random() < 0.5 else f"{rng.randrange(100)}.{rng.randrange(1, 100)}"


def _code(rng: random.Random) -> str:
    letters = "".join(rng.choices(string.ascii_uppercase, k=rng.choice((1, 1, 2, 3))))
    return letters + rng.choice(("", "-", "")) + str(rng.randrange(1, 1000))


def _money(rng: random.Random) -> str:
    amount = f"{rng.randrange(1, 2000):,}" + rng.choice(("", "", f".{rng.randrange(100):02d}"))
    return rng.choice(("{} euros", "{} EUR", "${}", "€{}", "{} dollars")).format(amount)


def _phone(rng: random.Random) -> str:
    groups = [str(rng.randrange(10**k, 10 ** (k + 1))) for k in rng.choices((1, 2, 3), k=3)]
    return rng.choice(("+", "0", "")) + rng.choice((" ", "-", " ")).join(groups)


def _person(rng: random.Random) -> str:
    return rng.choice(("", "", "Dr. ", "Ms. ", "Mr. ")) + f"{name(rng)} {name(rng)}"


def _pick(rng: random.Random, slot: str) -> str:
    return rng.choice(_CHOICES[slot])


def fill(rng: random.Random, slot: str) -> str:
    """An invented value for one slot of a fact template."""
    makers = {
        "number": lambda: number(rng),
        "small": lambda: str(rng.randrange(2, 60)),
        "year": lambda: str(rng.randrange(1850, 2030)),
        "percent": lambda: rng.choice(("{} %", "{}%", "{} percent")).format(_decimal(rng)),
        "weight": lambda: _decimal(rng) + rng.choice((" kg", " g", " kilograms", " pounds")),
        "volume": lambda: _decimal(rng) + rng.choice((" litres", " l", " ml", " liters")),
        "length": lambda: _decimal(rng) + rng.choice((" cm", " m", " mm", " metres", " inches")),
        "temperature": lambda: f"{rng.randrange(-30, 250)} " + rng.choice(("°C", "degrees", "°F")),
        "dose": lambda: _decimal(rng) + rng.choice((" mg", " ml", " tablets", " drops", " g")),
        "duration": lambda: f"{rng.randrange(2, 100)} " + _pick(rng, "unit"),
        "time": lambda: f"{rng.randrange(24):02d}:{rng.choice((0, 15, 30, 45, 0, 0)):02d}",
        "date": lambda: f"{rng.randrange(1, 29)} {_pick(rng, 'month')} {rng.randrange(1990, 2040)}",
        "price": lambda: _money(rng),
        "phone": lambda: _phone(rng),
        "email": lambda: f"{name(rng).lower()}@{name(rng).lower()}.{rng.choice(('com', 'org'))}",
        "person": lambda: _person(rng),
        "place": lambda: name(rng),
        "drug": lambda: name(rng).lower() + rng.choice(("in", "ol", "ine", "ax")),
        "code": lambda: _code(rng),
        "version": lambda: f"{rng.randrange(1, 20)}.{rng.randrange(20)}",
    }
    kind = slot.rstrip("2").lower()
    value = makers[kind]() if kind in makers else _pick(rng, kind)
    return value[0].upper() + value[1:] if slot[0].isupper() else value


@dataclass(frozen=True)
class Subject:
    """An invented product and its maker, which the facts of one passage are about."""

    product: str
    thing: str
    company: str

    @classmethod
    def invent(cls, rng: random.Random) -> "Subject":
        """A new product of a new company."""
        label = name(rng) + rng.choice((f" {number(rng)}", f" {_code(rng)}", "", " " + name(rng)))
        company = name(rng) + rng.choice(("", " Ltd", " Inc.", " GmbH", " & " + name(rng)))
        return cls(label, rng.choice(_CHOICES["thing"]), company)

    def mention(self, rng: random.Random, by_name: bool) -> str:
        """The product as a sentence may call it."""
        named = (f"the {self.product}", f"the {self.product} {self.thing}", self.product)
        return rng.choice(named) if by_name else rng.choice((*named, f"the {self.thing}"))


def state(rng: random.Random, fact: Fact, subject: Subject, by_name: bool) -> tuple[str, str]:
    """A fact about a subject, and a question that it answers."""
    text, ask = rng.choice(fact.text), rng.choice(fact.ask)
    values: dict[str, str] = {}
    for slot in sorted(set(re.findall(r"\{(\w+)\}", text + ask))):
        if slot.lower() == "company":
            values[slot] = subject.company
        elif slot.lower() != "product":
            values[slot] = values.get(slot.lower()) or fill(rng, slot)
    written = []
    for template in (text, ask):
        called = subject.mention(rng, by_name)
        values["product"], values["Product"] = called, called[0].upper() + called[1:]
        sentence = template.format(**values).replace("My the ", "My ")
        if ": " in sentence and rng.random() < 0.3:
            # The same as a table's row, whose cells stand side by side.
            sentence = sentence.replace(": ", " | ").replace(", ", " | ").rstrip(".")
        written.append(sentence[0].upper() + sentence[1:])
    return written[0], written[1]


def disguise(rng: random.Random, passages: list[list[str]]) -> list[list[str]]:
    """Put invented names and numbers in place of some real ones, the same everywhere."""
    words = {w for passage in passages for text in passage for w in re.findall(r"\w+", text)}
    changed: dict[str, str] = {}
    for word in sorted(words):
        if word.isdecimal() and rng.random() < 0.6:
            changed[word] = "".join(rng.choices(string.digits, k=len(word)))
        elif len(word) > 3 and rng.random() < (0.4 if word[0].isupper() else 0.06):
            invented = name(rng)
            changed[word] = invented if word[0].isupper() else invented.lower()

    def swap(found: re.Match[str]) -> str:
        return changed.get(found.group(), found.group())

    return [[re.sub(r"\w+", swap, text) for text in passage] for passage in passages]
