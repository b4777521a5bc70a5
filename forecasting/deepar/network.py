"""The network: metadata embeddings, a stacked LSTM over lags, calendar and related series, one linear head."""

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
        self.lstm = nn.LSTM(
            input_size=len(facts.lags) + 2 + known_columns(facts) + 2 + 2 * len(facts.numbers) + embedded,
            hidden_size=settings.num_cells,
            num_layers=settings.num_layers,
            dropout=settings.dropout if settings.num_layers > 1 else 0.0,
        )
        self.head = nn.Linear(settings.num_cells, self.law.size)

    def forward(self, window: Window) -> Tensor:
        """Raw parameters [T, B, P]."""
        hidden, _ = self.lstm(self.inputs(window))
        raw: Tensor = self.head(hidden)
        return raw

    def inputs(self, window: Window) -> Tensor:
        """The input of the first layer, [T, B, I]: lags first."""
        static = [window.static]
        static += [table(window.codes[:, c]) for c, table in enumerate(self.embeddings)]
        fixed = torch.cat(static, dim=1).expand(len(window.lags), -1, -1)
        return torch.cat([window.lags, window.flags, window.known, fixed], dim=2)


def known_columns(facts: Facts) -> int:
    """D, the columns of `Window.known`."""
    known = [c for c in facts.related if c.known_in_future]
    moving = sum(not c.binary for c in known)
    past = (len(facts.related) - len(known)) * len(facts.past_lags)
    return _CALENDAR_COLUMNS * len(facts.calendar) + len(facts.holidays) + 1 + 2 * len(known) + moving + 2 * past
