"""The weights of trainings, to compare them. Needs torch."""

from __future__ import annotations

from typing import Any

import torch

from forecasting.deepar import Trainer


def weights(trained: Trainer) -> dict[str, Any]:
    return trained.model().network.state_dict()


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)
