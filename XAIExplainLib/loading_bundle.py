"""MONAI bundles: a folder or a zip with configs/ and models/. Their configurations are code, so they ask first."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from XAIExplainLib.bundle_preprocessing import BundlePreprocessing
from XAIExplainLib.consent import require_consent
from XAIExplainLib.errors import XAIError
from XAIExplainLib.loading_settings import read_json, settings
from XAIExplainLib.loading_weights import put_weights
from XAIExplainLib.model import Model
from XAIExplainLib.screening import why_bundle_can_run_code

_CONFIGS = ("inference.json", "evaluate.json", "train.json")
_NETWORKS = ("network_def", "network", "net")
_PREPROCESSING = ("preprocessing", "validate::preprocessing", "train::deterministic_transforms", "train::preprocessing")
_INFERERS = ("inferer", "validate::inferer", "train::inferer")
_WINDOWS = ("SlidingWindowInferer", "SlidingWindowInfererAdapt")
_FIELDS = {
    "roi_size": "roi", "sw_batch_size": "batch", "overlap": "overlap", "mode": "mode", "sigma_scale": "sigma",
    "padding_mode": "padding", "cval": "padding_value",
}  # fmt: skip
_LAYOUT = "A MONAI bundle has configs/inference.json, configs/metadata.json and models/model.pt."


def load_bundle(path: Path, consent: bool | None, options: dict[str, Any]) -> Model:
    """The model of a MONAI bundle, with the bundle's own preprocessing.

    Of its inferer the sliding window is taken; any other one is left out (``information["inferer"]`` says so), and so
    is its postprocessing: the network's own answer is explained.

    Raises
    ------
    ConsentError
        Without consent, if the configuration does more than name networks and transforms.
    XAIError
        If the bundle is incomplete or damaged.
    """
    with contextlib.ExitStack() as opened:
        root = path if path.is_dir() else opened.enter_context(_unpacked(path))
        config = next((c for name in _CONFIGS if (c := root / "configs" / name).is_file()), None)
        if config is None:
            raise XAIError(f"The bundle {path.name} has no configuration that can be read.", _LAYOUT)
        read = read_json(config)
        require_consent(consent, path.name, "a MONAI bundle, whose configuration can name any function",
                        lambda: _why_it_can_run_code(read))  # fmt: skip
        described = _described(root / "configs" / "metadata.json", read)
        wanted = _window_fields(read)
        if consent:
            opened.enter_context(_importable(root))
        network, steps, window = _parsed(config, root, path.name, bool(consent), wanted)
        weights = root / "models" / "model.pt"
        if not weights.is_file():
            raise XAIError(f"The bundle {path.name} has no weights models/model.pt.", _LAYOUT)
        put_weights(network, weights)
    if options.get("task") in (None, "segmentation"):
        described.update(_sliding(read, window, options.get("spatial_dims") or described.get("spatial_dims", 3)))
    chosen = {"name": path.stem, "source": str(path), **settings(described, options)}
    chosen.setdefault("preprocessing", steps)
    return Model(network, **chosen)


def why_bundle_asks(root: Path) -> str:
    """What the configuration of a bundle's folder does more than name networks and transforms; empty if nothing."""
    config = next((c for name in _CONFIGS if (c := root / "configs" / name).is_file()), None)
    return _why_it_can_run_code(read_json(config)) if config is not None else ""


def _why_it_can_run_code(config: dict[str, Any]) -> str:
    found = [next((key for key in _NETWORKS if key in config), None)]
    found += [key for key in _PREPROCESSING if key.partition("::")[0] in config]
    found += _window_fields(config).values()
    return why_bundle_can_run_code(config, [key for key in found if key])


def _parsed(
    config: Path, root: Path, name: str, imports: bool, wanted: dict[str, str]
) -> tuple[torch.nn.Module, BundlePreprocessing | None, dict[str, Any]]:
    """The network, the preprocessing and the values `wanted` that a configuration makes; this runs what it says."""
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parser.read_config(str(config))
            parser["bundle_root"] = str(root)
            if imports and "imports" in parser:
                parser.get_parsed_content("imports")
            which = next((key for key in _NETWORKS if key in parser), None)
            network = parser.get_parsed_content(which) if which else None
            steps = next((key for key in _PREPROCESSING if parser.get(key) is not None), None)
            made = parser.get_parsed_content(steps) if steps else None
            text = json.dumps(parser.get(steps), default=str) if steps else ""
            values = {field: parser.get_parsed_content(key) for field, key in wanted.items()}
    except Exception as error:  # foreign code: it may fail in any way
        first = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
        raise XAIError(
            f"The configuration {config.name} of the bundle {name} fails: {first[0][:200]}.",
            "Install what the bundle needs (its metadata.json says it), or correct it.",
        ) from error
    if not isinstance(network, torch.nn.Module):
        raise XAIError(f"The configuration {config.name} of the bundle {name} defines no network_def.", _LAYOUT)
    return network.cpu(), BundlePreprocessing(made, text) if made is not None else None, values


def _inferer(config: dict[str, Any]) -> tuple[str, Any]:
    """The key of the inferer and what the configuration says of it; an empty key where there is none."""
    for key in _INFERERS:
        section, _, last = key.rpartition("::")
        place = config.get(section) if section else config
        if isinstance(place, dict) and place.get(last) is not None:
            return key, place[last]
    return "", None


def _window_fields(config: dict[str, Any]) -> dict[str, str]:
    """By the name of our settings: the keys of a sliding window's settings in a configuration."""
    key, inferer = _inferer(config)
    kind = str(inferer.get("_target_", "")).rsplit(".", 1)[-1] if isinstance(inferer, dict) else ""
    if kind not in _WINDOWS or inferer.get("_disabled_") or inferer.get("with_coord"):
        return {}
    return {ours: f"{key}::{theirs}" for theirs, ours in _FIELDS.items() if inferer.get(theirs) is not None}


def _sliding(config: dict[str, Any], values: dict[str, Any], dims: int) -> dict[str, Any]:
    """The settings of the sliding window as a description has them, or what is left out."""
    _, inferer = _inferer(config)
    if inferer is None:
        return {}
    kind = str(inferer.get("_target_", "")) if isinstance(inferer, dict) else str(inferer)
    if kind.rsplit(".", 1)[-1] == "SimpleInferer":
        return {}
    roi = values.get("roi")
    if roi is not None and not isinstance(roi, int):
        roi = [-1 if size is None else int(size) for size in roi]
    if roi is None or (isinstance(roi, list) and len(roi) != dims):
        return {"inferer": f"{kind or 'one without a name'}, left out: the network is asked about the whole volume"}
    plain = {key: getattr(value, "value", value) for key, value in values.items()}  # modes may be members of an enum
    return {"sliding": {**plain, "roi": roi}}


def _described(metadata: Path, config: dict[str, Any]) -> dict[str, Any]:
    """What metadata.json says of classes, channels and dimensions, as `settings` takes it."""
    about = read_json(metadata) if metadata.is_file() else {}
    data = about.get("network_data_format") or {}
    outputs: Any = next(iter((data.get("outputs") or {}).values()), {})
    inputs: Any = next(iter((data.get("inputs") or {}).values()), {})
    described: dict[str, Any] = {
        "title": about.get("name"), "description": about.get("description"),
        "licence": about.get("license") or about.get("copyright"), "version": about.get("version"),
        "overlapping": _sigmoid(config.get("postprocessing")),
    }  # fmt: skip
    classes = outputs.get("channel_def")
    if isinstance(classes, dict) and classes and all(str(key).isdigit() for key in classes):
        described["classes"] = [str(classes[key]) for key in sorted(classes, key=int)]
    if isinstance(inputs.get("num_channels"), int):
        described["channels"] = inputs["num_channels"]
    if isinstance(inputs.get("spatial_shape"), list) and len(inputs["spatial_shape"]) == 2:
        # MONAI's slices lie in its first two axes; its last is our i.
        described.update(spatial_dims=2, slice_axis="i")
    return {key: value for key, value in described.items() if value is not None}


def _sigmoid(config: Any) -> bool:
    """Whether a postprocessing gives each class its own sigmoid."""
    if isinstance(config, dict):
        return config.get("sigmoid") is True or any(_sigmoid(value) for value in config.values())
    return isinstance(config, list) and any(_sigmoid(value) for value in config)


@contextlib.contextmanager
def _importable(root: Path) -> Iterator[None]:
    """Let the bundle's own modules (its folder scripts) be imported while its configuration is read."""
    sys.path.insert(0, str(root))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(root))


@contextlib.contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """The bundle's folder in a zip, unpacked for the time of loading."""
    with tempfile.TemporaryDirectory(prefix="xaiexplain-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder)  # names that lead out of the folder are cut by zipfile itself
        except (zipfile.BadZipFile, OSError, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
            raise XAIError(f"The bundle {path.name} could not be unpacked: {error}.", "Copy it again.") from error
        yield next(config.parent for config in sorted(Path(folder).glob("**/configs"), key=lambda p: len(p.parts)))
