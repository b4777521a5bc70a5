"""Two processes that share every batch train as one process does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
rank, processes, rendezvous = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
import torch
from deepar_family import HORIZON, family
from forecasting.deepar import Facts, SeriesSet, Settings, Trainer
torch.set_num_threads(1)
if processes > 1:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=processes
    )
known = family(12)
settings = Settings(num_cells=12, batch_size=8, batches_per_epoch=10, epochs=3, dropout=0.0, learning_rate=0.01)
facts = Facts.learn(known.batch, known.metadata, HORIZON, settings)
trainer = Trainer(SeriesSet.of(known.batch, facts, known.metadata), facts, settings, seed=5)
curve = [(p.loss, p.held_out) for p in trainer.run()]
print(json.dumps({"curve": curve, "bias": trainer.model().network.head.bias.tolist()}))
if processes > 1:
    torch.distributed.destroy_process_group()
"""


def run(processes: int, rendezvous: Path) -> list[dict]:
    here = str(Path(__file__).parent)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, here, str(rank), str(processes), str(rendezvous)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0] * processes
    return [json.loads(output.splitlines()[-1]) for output in outputs]


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    (one,) = run(1, tmp_path / "unused")
    first, second = run(2, tmp_path / "meeting")
    assert first == second
    np.testing.assert_allclose(first["curve"], one["curve"], rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(first["bias"], one["bias"], rtol=1e-2, atol=1e-3)
