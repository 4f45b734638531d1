"""Test sets of our own writing, each in the form in which its makers publish theirs."""

import json
from pathlib import Path
from typing import Any

GSM8K = [
    {
        "question": "A shelf holds 4 pots with 3 herbs each. How many herbs are there?",
        "answer": "There are 4*3 = <<4*3=12>>12 herbs.\n#### 12",
    },
    {
        "question": "Ada reads 1,100 pages in 10 days. How many pages a day?",
        "answer": "She reads 1100/10 = <<1100/10=110>>110 pages a day.\n#### 110",
    },
]
DOCTOR = [
    {
        "instruction": "Answer as a doctor.",
        "input": " My ankle is swollen since I fell. What should I do? ",
        "output": "Rest it, cool it and keep it high for two days. Regards, Chat Doctor.",
    },
    {
        "instruction": "Answer as a doctor.",
        "input": "I cough at night. Is that bad?",
        "output": "A cough that lasts three weeks should be looked at.",
    },
]
BEERS = """beer/name: Night Shift
beer/beerId: 1
beer/style: Export Stout (Foreign)
review/appearance: 4
review/aroma: 4.5
review/text: Black, with a tan head. Roast, dark fruit: and liquorice.

beer/name: Morning Dew
beer/style: Pale Wheat
review/text: Hazy straw. Banana and clove.

beer/name: Lemon Water
beer/style: Soft Drink
review/text: Clear, sweet, no hops at all.
"""
STYLES = [
    {"style_id": "1A", "name": "Foreign Extra Stout"},
    {"style_id": "2B", "name": "Weissbier"},
    {"style_id": "3C", "name": "Kölsch"},
]
CLASSES = """Export Stout (Foreign): Foreign Extra Stout
Pale Wheat: Weissbier
Soft Drink: null
"""
BANKING = 'text,category\n"Where is my card, please?",card_arrival\nI lost it,lost_card\n'
PUBMED = {
    "101": {
        "QUESTION": "Does sleep shorten colds?",
        "CONTEXTS": ["Sixty adults were watched.", "Those who slept longer were well sooner."],
        "LABELS": ["METHODS", "RESULTS"],
        "LONG_ANSWER": "Longer sleep went with shorter colds.",
        "final_decision": "yes",
    },
    "102": {
        "QUESTION": "Do hats prevent colds?",
        "CONTEXTS": ["Hats made no difference."],
        "LABELS": ["RESULTS"],
        "LONG_ANSWER": "No effect was seen.",
        "final_decision": "no",
    },
}
MEDQA = {
    "question": "Which vitamin does sunlight make in the skin?",
    "answer": "Vitamin D",
    "options": {"A": "Vitamin A", "B": "Vitamin C", "C": "Vitamin D", "D": "Vitamin K"},
    "meta_info": "step1",
    "answer_idx": "C",
}
MEDMCQA = {
    "id": "q7",
    "question": "Which organ makes insulin?",
    "opa": "Liver",
    "opb": "Pancreas",
    "opc": "Spleen",
    "opd": "Kidney",
    "cop": 2,
}
MMLU = 'How many legs has a spider?,4,6,8,10,C\n"Which is a metal, here?",Iron,Wood,Glass,Wool,A\n'
SQUAD = {
    "version": "2.0",
    "data": [
        {
            "title": "Kettles",
            "paragraphs": [
                {
                    "context": "The kettle was patented in Leipzig in 1891, they say.",
                    "qas": [
                        {
                            "id": "a1",
                            "question": "Where was it patented?",
                            "answers": [
                                {"text": "Leipzig", "answer_start": 27},
                                {"text": "in Leipzig", "answer_start": 24},
                                {"text": "Leipzig", "answer_start": 27},
                            ],
                        },
                        {"id": "a2", "question": "Who?", "answers": [], "is_impossible": True},
                    ],
                }
            ],
        }
    ],
}
MEDQUAD = """<?xml version="1.0" encoding="UTF-8"?>
<Document id="0000001" source="Ours" url="https://example.org/hay">
<Focus>Hay fever</Focus>
<QAPairs>
<QAPair pid="1"><Question qid="1-1" qtype="information">What is hay fever?</Question>
<Answer>It is an allergy to pollen.
   The nose runs and the eyes itch.</Answer></QAPair>
<QAPair pid="2"><Question qid="1-2" qtype="treatment">How is it treated?</Question>
<Answer></Answer></QAPair>
</QAPairs>
</Document>
"""


def lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def write_all(folder: Path) -> Path:
    """Every set, by the names that a study can use."""
    texts = {
        "gsm8k.jsonl": lines(GSM8K),
        "HealthCareMagic-100k.json": json.dumps(DOCTOR),
        "beeradvocate.txt": BEERS,
        "styles.jsonl": lines(STYLES),
        "classes.yaml": CLASSES,
        "banking.csv": BANKING,
        "ori_pqal.json": json.dumps(PUBMED),
        "test_ground_truth.json": json.dumps({"102": "no"}),
        "medqa.jsonl": lines([MEDQA]),
        "medmcqa.json": json.dumps([MEDMCQA]),
        "mmlu_test.csv": MMLU,
        "squad.json": json.dumps(SQUAD),
        "medquad/1_Ours/0000001.xml": MEDQUAD,
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder
