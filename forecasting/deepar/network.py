"""The network: metadata embeddings, a stacked LSTM over lags, calendar and related series, one linear head.

The layers are LSTMs of their own, fused over time, so that dropout between them comes from a generator of ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from forecasting.deepar.facts import Facts
from forecasting.deepar.likelihoods import law_of
from forecasting.deepar.settings import Settings
from forecasting.deepar.windows import Window

_CALENDAR_COLUMNS = 3  # of each calendar feature
_WIDEST_EMBEDDING = 50


class Network(nn.Module):
    """Maps the inputs of T periods to the raw parameters of the law of each period's value."""

    def __init__(self, facts: Facts, settings: Settings) -> None:
        super().__init__()
        self.law = law_of(facts.likelihood, settings.num_pieces)
        sizes = [len(c.values) + 1 for c in facts.categories]
        self.embeddings = nn.ModuleList(nn.Embedding(size, min(_WIDEST_EMBEDDING, (size + 1) // 2)) for size in sizes)
        embedded = sum(min(_WIDEST_EMBEDDING, (size + 1) // 2) for size in sizes)
        inputs = len(facts.lags) + 2 + known_columns(facts) + 2 + 2 * len(facts.numbers) + embedded
        cells = settings.num_cells
        self.layers = nn.ModuleList(nn.LSTM(cells if k else inputs, cells) for k in range(settings.num_layers))
        self.dropout = settings.dropout
        self.head = nn.Linear(cells, self.law.size)

    def forward(self, window: Window, generator: torch.Generator | None = None) -> Tensor:
        """Raw parameters [T, B, P]. generator: where dropout is drawn from; None: no dropout."""
        return self.raw(self.inputs(window), generator)

    def raw(self, inputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Raw parameters [T, B, P] for the inputs of the first layer [T, B, I]."""
        hidden = inputs
        for k, layer in enumerate(self.layers):
            if k and generator is not None and self.dropout > 0:
                kept = torch.empty_like(hidden).bernoulli_(1.0 - self.dropout, generator=generator)
                hidden = hidden * kept / (1.0 - self.dropout)
            hidden, _ = layer(hidden)
        raw: Tensor = self.head(hidden)
        return raw

    def inputs(self, window: Window) -> Tensor:
        """The input of the first layer, [T, B, I]: lags first, embeddings last."""
        if not len(self.embeddings):
            return window.inputs
        embedded = torch.cat([table(window.codes[:, c]) for c, table in enumerate(self.embeddings)], dim=1)
        return torch.cat([window.inputs, embedded.expand(len(window.inputs), -1, -1)], dim=2)


def known_columns(facts: Facts) -> int:
    """D, the columns of `Window.known`."""
    known = [c for c in facts.related if c.known_in_future]
    moving = sum(not c.binary for c in known)
    past = (len(facts.related) - len(known)) * len(facts.past_lags)
    return _CALENDAR_COLUMNS * len(facts.calendar) + len(facts.holidays) + 1 + 2 * len(known) + moving + 2 * past
