"""A structured start: some heads begin as the lookups that this task needs.

Written into the weights before training, on top of small random values: attention to the previous
two tokens and to the last opening mark (layer 0), to the same word in the question (layer 1), and
to the token after an earlier occurrence of the current one (layer 3), and from the answer's place
to all closing marks (the last two). Training may move them all.
The stream is divided: six flags, a content code for each token, a workspace for what heads find.
"""

from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from deploy.demo.base.network import Attention, Layer, Network, rotary_frequencies
from deploy.demo.base.vocabulary import BEGIN, CLOSING, OPENING

CONSTANT, IS_OPENING, IS_CLOSING, IN_DOCUMENTS, IS_ANSWER, IS_BEGIN = range(6)
FLAGS, CONTENT_END = 6, 152
CONTENT = slice(FLAGS, CONTENT_END)
_CONSTANT, _CONTENT_NORM = 0.25, 0.93


@dataclass(frozen=True)
class Plan:
    """Where things lie, and how strongly they show after the first normalisation."""

    root: float
    constant: float
    slow: Tensor
    previous: slice
    second: slice
    opening: slice
    match: slice
    content: Tensor

    @property
    def wide(self) -> int:
        """How many channels carry the previous token."""
        return int(self.previous.stop - self.previous.start)

    @property
    def narrow(self) -> int:
        """How many carry the token before it, or the opening mark."""
        return int(self.second.stop - self.second.start)


def _orthogonal(size: int, count: int) -> Tensor:
    columns: Tensor = torch.linalg.qr(torch.randn(size, count))[0]
    return columns.T.contiguous()


def _plan(network: Network) -> Plan:
    shape = network.shape
    half = shape.head_width // 2
    lengths = 1 / rotary_frequencies(shape)
    # Only slowly turning pairs compare content alike at every distance; the last is kept for flags.
    turning = [i for i in range(half) if lengths[i] > 110]
    both = turning + [half + i for i in turning]
    slow = [i for i in both if i not in (half - 1, 2 * half - 1)]
    wide = len(slow) // 2 * 2
    narrow, begin = wide // 2, CONTENT_END
    return Plan(
        root=shape.width**0.5,
        constant=_CONSTANT * shape.width**0.5,
        slow=torch.tensor(slow[:wide]),
        previous=slice(begin, begin + wide),
        second=slice(begin + wide, begin + wide + narrow),
        opening=slice(begin + wide + narrow, begin + wide + 2 * narrow),
        match=slice(begin + wide + 2 * narrow, shape.width),
        content=_orthogonal(CONTENT_END - FLAGS, shape.head_width),
    )


def _flag(embedding: Tensor, token: int, flag: int, strength: float) -> None:
    embedding[token, flag] = strength


def _start_embeddings(network: Network, tokenizer: Tokenizer) -> None:
    table, number = network.embed_tokens.weight, tokenizer.get_vocab()
    table[:, :FLAGS] = 0
    table[:, CONTENT_END:] *= 0.12
    table[:, CONTENT] *= _CONTENT_NORM / table[:, CONTENT].norm(dim=1, keepdim=True)
    table[:, CONSTANT] = _CONSTANT
    for i, mark in enumerate(CLOSING, start=1):
        opening, closing = number[OPENING[i]], number[mark]
        own = table[closing, CONTENT].clone()
        table[opening, CONTENT] *= 0.8
        # Half in common with its opening mark, to be told apart by the other half.
        table[closing, CONTENT] = 0.6 * table[opening, CONTENT] + 0.55 * own
        _flag(table, opening, IS_OPENING, 0.5)
        _flag(table, closing, IS_CLOSING, 0.5)
    _flag(table, number[OPENING[0]], IS_OPENING, 0.3)
    _flag(table, number["Documents"], IN_DOCUMENTS, 0.6)
    _flag(table, number["<|assistant|>"], IS_ANSWER, 0.5)
    table[number[BEGIN], CONTENT] = 0
    _flag(table, number[BEGIN], IS_BEGIN, 0.95)


class _Head:
    """The rows and columns of one attention head, emptied and ready to be written."""

    def __init__(self, attention: Attention, place: int) -> None:
        width = attention.head_width
        self.rows = slice(place * width, (place + 1) * width)
        self.base = place * width
        self.flag_row = self.base + width // 2 - 1
        self.query, self.key = attention.q_proj.weight, attention.k_proj.weight
        self.value, self.output = attention.v_proj.weight, attention.o_proj.weight
        for weight in (self.query, self.key, self.value):
            weight[self.rows] = 0
        self.output[:, self.rows] = 0

    def carry(self, content: Tensor, target: slice, gain: float) -> None:
        """Read a token's content code and write it to part of the workspace."""
        count = content.shape[0]
        self.value[self.base : self.base + count, CONTENT] = content
        self.output[target, self.base : self.base + count] = torch.eye(count) * gain


def _look_back(head: _Head, plan: Plan, network: Network, offset: int) -> None:
    """Attend to the token ``offset`` places back, by the quickly turning pairs."""
    speed = rotary_frequencies(network.shape)
    quick = (speed > 0.05).float()
    gain = (80 / quick.sum()) ** 0.5 * 1.6 / plan.constant
    turned = torch.cat([torch.cos(offset * speed) * quick, -torch.sin(offset * speed) * quick])
    head.query[head.rows, CONSTANT] = turned * gain
    head.key[head.rows, CONSTANT] = torch.cat([quick, torch.zeros_like(quick)]) * gain


def _last_opening(head: _Head, plan: Plan, network: Network) -> None:
    """Attend to the nearest opening mark: middling pairs fall off with distance."""
    lengths = 1 / rotary_frequencies(network.shape)
    middling = [i for i in range(len(lengths)) if 8 < lengths[i] < 80]
    gain = (60 / len(middling)) ** 0.5
    for i in middling:
        head.query[head.base + i, CONSTANT] = gain / plan.constant
        head.key[head.base + i, IS_OPENING] = gain * 6 / (0.5 * plan.root)
    head.query[head.flag_row, CONSTANT] = 10 / plan.constant
    head.key[head.flag_row, IS_OPENING] = 6 / (0.5 * plan.root)
    head.key[head.flag_row, IS_BEGIN] = 3 / (0.95 * plan.root)


def _start_positions(network: Network, plan: Plan) -> None:
    attention = network.layers[0].self_attn
    assert isinstance(attention, Attention)
    norm = 15.0 * (plan.wide / (CONTENT_END - FLAGS)) ** 0.5
    first, second, opening, begun = (_Head(attention, place) for place in range(4))
    _look_back(first, plan, network, 1)
    first.carry(plan.content[: plan.wide], plan.previous, 0.55 / norm)
    _look_back(second, plan, network, 2)
    second.carry(plan.content[plan.narrow : plan.wide], plan.second, 0.55 / norm)
    _last_opening(opening, plan, network)
    opening.carry(plan.content[: plan.narrow], plan.opening, 0.7 / norm)
    begun.query[begun.flag_row, CONSTANT] = 10 / plan.constant
    begun.key[begun.flag_row, IN_DOCUMENTS] = 14 / (0.6 * plan.root)
    begun.key[begun.flag_row, IS_BEGIN] = 6 / (0.95 * plan.root)
    begun.value[begun.base, IN_DOCUMENTS] = 0.06
    begun.output[IN_DOCUMENTS, begun.base] = 0.5


def _start_question_match(network: Network, plan: Plan, gain: float = 1.4) -> None:
    """Attend to the same token before the documents, else to the beginning."""
    attention = network.layers[1].self_attn
    assert isinstance(attention, Attention)
    free = plan.match.stop - plan.match.start
    for place in (0, 1):
        head = _Head(attention, place)
        rows = head.base + plan.slow
        head.query[rows, CONTENT] = plan.content[: plan.wide] * gain
        head.key[rows, CONTENT] = plan.content[: plan.wide] * gain
        head.query[head.flag_row, CONSTANT] = 10 / plan.constant
        head.key[head.flag_row, IN_DOCUMENTS] = -2.2
        head.key[head.flag_row, IS_BEGIN] = 0.4
        head.value[head.rows, CONTENT] = (
            _orthogonal(CONTENT_END - FLAGS, attention.head_width) * 0.1
        )
        head.value[head.base, CONSTANT], head.value[head.base, IS_BEGIN] = 0.5, -0.5
        head.output[plan.match, head.base : head.base + free] = torch.eye(free) * 0.12


def _start_induction(network: Network, plan: Plan, gain: float = 1.25) -> None:
    """Attend to what followed the current token before, once also in the same sentence."""
    attention = network.layers[3].self_attn
    assert isinstance(attention, Attention)
    read = _orthogonal(CONTENT_END - FLAGS, attention.head_width)
    key_gain, narrow = 2.2 * gain, plan.narrow
    near = slice(plan.previous.start, plan.previous.start + narrow)
    far = slice(near.stop, plan.previous.stop)
    for place in range(3):
        head = _Head(attention, place)
        rows = head.base + plan.slow
        upper, lower = rows[:narrow], rows[narrow:]
        if place == 0:
            head.query[rows, CONTENT] = plan.content[: plan.wide] * gain
            head.key[rows, plan.previous] = torch.eye(plan.wide) * key_gain
        else:
            head.query[upper, CONTENT] = plan.content[:narrow] * gain * 1.2
            head.key[upper, near] = torch.eye(narrow) * key_gain * 1.2
            asked, found = (far, plan.second) if place == 1 else (plan.opening, plan.opening)
            strength = 1.0 if place == 1 else 0.73
            head.query[lower, asked] = torch.eye(narrow) * key_gain * strength
            head.key[lower, found] = torch.eye(narrow) * key_gain * strength
        head.value[head.rows, CONTENT] = read * 0.3
        head.output[CONTENT, head.rows] = read.T * 0.9


def _start_answer(network: Network, plan: Plan) -> None:
    """Where the answer begins: gather the opening marks that closing tokens hold, all alike."""
    for layer in network.layers[-2:]:
        attention = layer.self_attn
        assert isinstance(attention, Attention)
        head = _Head(attention, 0)
        head.query[head.flag_row, IS_ANSWER] = 10 / (0.5 * plan.root)
        head.key[head.flag_row, IS_CLOSING] = 6 / (0.5 * plan.root)
        head.value[head.base : head.base + plan.narrow, plan.opening] = torch.eye(plan.narrow) * 0.4
        read = plan.content[: plan.narrow].T
        head.output[CONTENT, head.base : head.base + plan.narrow] = read


@torch.no_grad()
def structure(network: Network, tokenizer: Tokenizer) -> None:
    """Write the structured start into a freshly initialised network."""
    shape = network.shape
    if shape.width != 256 or shape.heads != 4 or shape.layers < 6:
        raise ValueError(f"the structured start is laid out for 256 wide, 4 heads, not {shape}")
    for layer in network.layers:
        assert isinstance(layer, Layer)
        layer.self_attn.o_proj.weight *= 0.06
        layer.mlp.down_proj.weight *= 0.06
    _start_embeddings(network, tokenizer)
    plan = _plan(network)
    _start_positions(network, plan)
    _start_question_match(network, plan)
    _start_induction(network, plan)
    _start_answer(network, plan)
