"""Model folders and checkpoints of the GPU job: safetensors and JSON, checked before they are used; no pickle.

A model folder is written once and holds

    manifest.json         format, and size and SHA-256 of the other two
    model.json            settings, facts (scalers, vocabulary), what the caller tells of it, versions
    weights.safetensors   the network, or the networks

The hashes find what is damaged or was changed carelessly. Who can write the folder can write a fitting manifest: where
that matters, keep the digest that `save_model` returns elsewhere (the table `models`) and give it to `load_model`.
A checkpoint is one file, replaced in one step.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from pydantic import ValidationError

from forecasting.deepar import DeepAR, Ensemble, Facts, Settings, Trainer
from forecasting.deepar.model import FURTHER
from forecasting.deepar.network import Network
from udfs.errors import InputError
from udfs.runs import code_version

FORMAT = 1
MANIFEST, DOCUMENT, WEIGHTS = "manifest.json", "model.json", "weights.safetensors"
_LARGEST_MANIFEST = 1 << 20


class ModelFolderError(InputError):
    """A model folder or checkpoint that cannot be used: what is wrong and what to do."""


def save_model(model: DeepAR, folder: Path, about: Mapping[str, Any] | None = None) -> str:
    """Write a model folder; returns its digest, the SHA-256 of the manifest.

    about: what else to keep, such as metrics and the data version; JSON. Raises ModelFolderError where the folder
    exists: a model is never changed.
    """
    if folder.exists():
        raise ModelFolderError(f"{folder} exists already; give a new folder, a model is never overwritten")
    weights = {name: w.detach().cpu().contiguous() for name, w in model.weights().items()}
    document = {
        "settings": model.settings.model_dump(mode="json"),
        "facts": model.facts.model_dump(mode="json"),
        "about": dict(about or {}),
        "versions": {"almanac": code_version(), "torch": str(torch.__version__)},
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as place:
        new = Path(place) / "model"
        new.mkdir()
        (new / WEIGHTS).write_bytes(safetensors.torch.save(weights))
        (new / DOCUMENT).write_text(json.dumps(document, indent=1, allow_nan=False), encoding="utf-8")
        files = {name: {"bytes": (new / name).stat().st_size, "sha256": _digest(new / name)} for name in _FILES}
        (new / MANIFEST).write_text(json.dumps({"format": FORMAT, "files": files}, indent=1), encoding="utf-8")
        digest = _digest(new / MANIFEST)
        new.rename(folder)
    return digest


_FILES = (DOCUMENT, WEIGHTS)


def load_model(
    folder: Path, *, digest: str | None = None, device: str | torch.device = "cpu"
) -> tuple[DeepAR, dict[str, Any]]:
    """A model and what was told of it.

    digest: what `save_model` returned, where it was kept elsewhere. Raises ModelFolderError for a folder that is
    missing, incomplete, damaged, changed, or written by a newer version. Nothing in the folder is executed.
    """
    _check(folder, digest)
    document = _json(folder / DOCUMENT)
    try:
        settings = Settings.model_validate_json(json.dumps(document["settings"]))
        facts = Facts.model_validate_json(json.dumps(document["facts"]))
        about = dict(document["about"])
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise ModelFolderError(f"{folder / DOCUMENT} does not describe a model this version knows: {error}") from error
    network = Network(facts, settings).to(device).eval()
    weights = _weights(folder / WEIGHTS, network.state_dict())
    return DeepAR(settings, facts, network).with_weights(weights), about


def _check(folder: Path, digest: str | None) -> None:
    """Manifest, sizes and hashes, before any other file is read."""
    manifest_file = folder / MANIFEST
    if not _is_plain(manifest_file) or manifest_file.stat().st_size > _LARGEST_MANIFEST:
        raise ModelFolderError(f"{folder} is not a model folder: it has no {MANIFEST}")
    if digest is not None and _digest(manifest_file) != digest:
        raise ModelFolderError(f"{manifest_file} is not the one that was saved (its SHA-256 differs); do not use it")
    manifest = _json(manifest_file)
    version = manifest.get("format")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ModelFolderError(f"{manifest_file} has the format {version!r}; expected a whole number of at least 1")
    if version > FORMAT:
        raise ModelFolderError(
            f"{folder} was written by a newer version (format {version}, this one reads {FORMAT}); install it"
        )
    files = manifest.get("files")
    for name in _FILES:
        told = files.get(name) if isinstance(files, dict) else None
        if not isinstance(told, dict):
            raise ModelFolderError(f"{manifest_file} says nothing of {name}; copy the folder again")
        if not _is_plain(folder / name):
            raise ModelFolderError(f"{folder / name} is missing or not a plain file; copy the folder again")
        size = (folder / name).stat().st_size
        if size != told.get("bytes"):
            raise ModelFolderError(f"{folder / name} has {size} bytes instead of {told.get('bytes')}; copy it again")
        if _digest(folder / name) != told.get("sha256"):
            raise ModelFolderError(f"{folder / name} was changed: its SHA-256 is not the manifest's; copy it again")


def _weights(file: Path, network: Mapping[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """The weights of each network, with the names, shapes and types that a network has."""
    try:
        found: dict[str, torch.Tensor] = safetensors.torch.load(file.read_bytes())
    except safetensors.SafetensorError as error:
        raise ModelFolderError(f"{file} is not a safetensors file: {error}") from error
    n = max(1, len(found) // len(network))
    starts = ["", *(f"{FURTHER}{k}." for k in range(n - 1))]
    expected = {start + name: (w.shape, w.dtype) for start in starts for name, w in network.items()}
    if {name: (w.shape, w.dtype) for name, w in found.items()} != expected:
        raise ModelFolderError(f"the weights in {file} are not those of the network that {DOCUMENT} describes")
    if not all(bool(torch.isfinite(w).all()) for w in found.values()):
        raise ModelFolderError(f"{file} holds weights that are not finite; train the model again")
    return [{name: found[start + name] for name in network} for start in starts]


def save_checkpoint(trainer: Trainer | Ensemble, file: Path, about: Mapping[str, Any] | None = None) -> None:
    """Write the state of a training; a reader sees the old or the new one, whole. about: as for `save_model`."""
    tensors, numbers = trainer.state()
    held = {name: t.cpu().contiguous() for name, t in tensors.items()}
    document = {
        "format": FORMAT,
        "numbers": numbers,
        "sha256": _tensor_digest(held),
        "about": dict(about or {}),
        "settings": trainer.settings.model_dump(mode="json"),
        "facts": _text_digest(trainer.facts.model_dump_json()),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(safetensors.torch.save(held, {"document": json.dumps(document)}))
            out.flush()
            os.fsync(out.fileno())
        os.replace(name, file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def load_checkpoint(trainer: Trainer | Ensemble, file: Path) -> dict[str, Any]:
    """Put a trainer where the checkpoint's was; returns `about`.

    Raises ModelFolderError for a file that is damaged, newer, or of a training with other data, settings or seed.
    """
    try:
        with safetensors.safe_open(file, "pt") as opened:
            document = json.loads((opened.metadata() or {})["document"])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
        raise ModelFolderError(f"{file} is not a whole checkpoint: {error}; delete it to begin anew") from error
    if document.get("format") != FORMAT:
        raise ModelFolderError(f"{file} has the format {document.get('format')!r}; this version reads {FORMAT}")
    if document["sha256"] != _tensor_digest(tensors):
        raise ModelFolderError(f"{file} was changed: its SHA-256 differs; delete it to begin anew")
    epochs = {"epochs": trainer.settings.epochs}  # more epochs than at first are no other training
    if {**document["settings"], **epochs} != trainer.settings.model_dump(mode="json"):
        raise ModelFolderError(f"{file} is of a training with other settings; use those, or delete it to begin anew")
    if document["facts"] != _text_digest(trainer.facts.model_dump_json()):
        raise ModelFolderError(f"{file} is of a training on other data; use those, or delete it to begin anew")
    try:
        trainer.restore({name: t.to(trainer.device) for name, t in tensors.items()}, document["numbers"])
    except ValueError as error:
        raise ModelFolderError(f"{file}: {error}") from error
    return dict(document["about"])


def _is_plain(file: Path) -> bool:
    return file.is_file() and not file.is_symlink()


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelFolderError(f"{file} is not JSON: {error}; copy the folder again") from error
    if not isinstance(found, dict):
        raise ModelFolderError(f"{file} is not a JSON object; copy the folder again")
    return found


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        digest = hashlib.sha256()
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _tensor_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
