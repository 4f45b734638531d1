"""The Llama architecture in plain torch, with every layer's output at hand for the helper losses.

Parameter names are those of transformers' ``LlamaModel``, so that export is a renaming.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """The sizes that define a network; heads times head_width equals width."""

    vocabulary: int = 8192
    width: int = 256
    layers: int = 6
    heads: int = 4
    inner: int = 640
    context: int = 1536
    rope_theta: float = 1e5

    @property
    def head_width(self) -> int:
        """The width of one attention head."""
        return self.width // self.heads

    def as_dict(self) -> dict[str, float]:
        """Plain values for a checkpoint."""
        return asdict(self)


class Norm(nn.Module):
    """RMS normalisation with a learned scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, hidden: Tensor) -> Tensor:
        """Scale each position to unit root mean square."""
        return functional.rms_norm(hidden, (hidden.shape[-1],), self.weight.to(hidden.dtype), 1e-5)


def _rotate_half(hidden: Tensor) -> Tensor:
    first, second = hidden.chunk(2, -1)
    return torch.cat([-second, first], -1)


class Attention(nn.Module):
    """Causal attention with rotary positions."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, self.head_width = shape.heads, shape.head_width
        width = shape.width
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)

    def _split(self, hidden: Tensor) -> Tensor:
        return hidden.view(*hidden.shape[:2], self.heads, self.head_width).transpose(1, 2)

    def forward(self, hidden: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """Mix every position with those before it."""
        query, key = self._split(self.q_proj(hidden)), self._split(self.k_proj(hidden))
        query = query * cosine + _rotate_half(query) * sine
        key = key * cosine + _rotate_half(key) * sine
        mixed = functional.scaled_dot_product_attention(
            query, key, self._split(self.v_proj(hidden)), is_causal=True
        )
        output: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(hidden.shape))
        return output


class FeedForward(nn.Module):
    """The gated feed-forward part of a layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.inner, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.inner, bias=False)
        self.down_proj = nn.Linear(shape.inner, shape.width, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Transform each position by itself."""
        gated = functional.silu(self.gate_proj(hidden)) * self.up_proj(hidden)
        output: Tensor = self.down_proj(gated)
        return output


class Layer(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = Norm(shape.width)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = Norm(shape.width)
        self.mlp = FeedForward(shape)

    def forward(self, hidden: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """Attention, then feed-forward, each added to the stream."""
        hidden = hidden + self.self_attn(self.input_layernorm(hidden), cosine, sine)
        output: Tensor = hidden + self.mlp(self.post_attention_layernorm(hidden))
        return output


def rotary_frequencies(shape: Shape) -> Tensor:
    """The angular speed of each rotary pair."""
    steps = torch.arange(0, shape.head_width, 2).float() / shape.head_width
    return 1.0 / shape.rope_theta**steps


class Network(nn.Module):
    """The whole model; its embedding is also its output layer."""

    cosine: Tensor
    sine: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.width)
        angles = torch.outer(torch.arange(shape.context).float(), rotary_frequencies(shape))
        angles = torch.cat([angles, angles], -1)
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        depth_scale = (2 * self.shape.layers) ** -0.5
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                last = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(weight, std=weight.shape[1] ** -0.5 * (depth_scale if last else 1))

    def forward(self, tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The normalised last hidden states, and the stream after every layer."""
        hidden = self.embed_tokens(tokens)
        device = hidden.device.type
        lower = torch.is_autocast_enabled(device)
        kind = torch.get_autocast_dtype(device) if lower else hidden.dtype
        length = tokens.shape[1]
        cosine, sine = self.cosine[:length].to(kind), self.sine[:length].to(kind)
        after: list[Tensor] = []
        for layer in self.layers:
            hidden = layer(hidden, cosine, sine)
            after.append(hidden)
        return self.norm(hidden), after

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores over the vocabulary for some hidden states."""
        return functional.linear(hidden, self.embed_tokens.weight)
