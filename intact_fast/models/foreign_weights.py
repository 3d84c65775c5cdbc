"""State dicts as others nest and name them: where an OSNet is in a file, and what else a file holds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from intact_fast.foreign_files import METADATA
from intact_fast.models.osnet import CLASSIFIER
from intact_fast.plain_values import shown

_FIRST, _LAST = "conv1.conv.weight", "conv5.conv.weight"
_DEEPEST = 3
_PROFILED = re.compile(r"(^|\.)total_(ops|params)$")
"""What a profiler (thop) leaves in the state dicts of the networks that it measured."""
_UNUSED = ("n_averaged",)
"""Counters of wrappers."""


class FoundOSNet(NamedTuple):
    """An OSNet in a file.

    Attributes:
        place: Keys under which its dictionary stands, and the prefix of its names; empty where there are none.
        state: Its state dict, by torchreid's names.
        left_out: Other tensors beside it.
    """

    place: str
    state: dict[str, Tensor]
    left_out: list[str]


def find_osnets(content: Mapping[str, Any]) -> list[FoundOSNet]:
    """Find every OSNet in a file, under whatever keys and prefixes; under ``state_dict`` alone where one is there."""
    found = [
        osnet
        for keys, values in _dictionaries(content)
        for tensors in [tensors_of(values)]
        for prefix in _prefixes(tensors)
        for osnet in [_take(".".join((*keys, prefix.removesuffix("."))).strip("."), tensors, prefix)]
    ]
    usual = [osnet for osnet in found if osnet.place.split(".")[0] == "state_dict"]
    return usual or found


def tensors_of(values: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The tensors of a dictionary; arrays count, too."""
    arrays = {
        name: torch.from_numpy(np.array(value))
        for name, value in values.items()
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiu" and value.dtype.isnative
    }
    tensors = {name: value.detach() for name, value in values.items() if isinstance(value, Tensor)}
    named = {_name(name): value for name, value in {**tensors, **arrays}.items()}
    return {name: value for name, value in named.items() if not _PROFILED.search(name)}


def rows_of(weight: Tensor) -> int:
    """Length of the first dimension; 0 of a single number."""
    return weight.shape[0] if weight.ndim else 0


def _dictionaries(
    content: Mapping[Any, Any], keys: tuple[str, ...] = (), known: set[int] | None = None
) -> Iterator[tuple[tuple[str, ...], Mapping[Any, Any]]]:
    """A dictionary and those in it, each once: one that stands in many places would be a thousand of them."""
    known = set() if known is None else known
    known.add(id(content))
    yield keys, content
    if len(keys) < _DEEPEST:
        for name, value in content.items():
            if isinstance(value, Mapping) and id(value) not in known:
                yield from _dictionaries(value, (*keys, _name(name)), known)


def _name(key: Any) -> str:
    """Give a key as text; of what holds others, its kind."""
    return key if isinstance(key, str) else shown(key)


def _prefixes(tensors: Mapping[str, Tensor]) -> list[str]:
    """What stands before the names of an OSNet, of each in a state dict."""
    starts = (name.removesuffix(_FIRST) for name in tensors if name.endswith(_FIRST))
    return [start for start in starts if (start == "" or start.endswith(".")) and start + _LAST in tensors]


def _take(place: str, tensors: Mapping[str, Tensor], prefix: str) -> FoundOSNet:
    state = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    taken = {prefix + name for name in state}
    if CLASSIFIER + "weight" not in state:
        # one that stands outside the backbone
        outer = prefix.split(".")[:-1]
        for end in range(len(outer) - 1, -1, -1):
            above = ".".join((*outer[:end], CLASSIFIER))
            weight = tensors.get(above + "weight")
            fc = state.get("fc.0.weight")
            if weight is not None and fc is not None and weight.ndim == 2 and weight.shape[1] == rows_of(fc):
                own = {name: value for name, value in tensors.items() if name in (above + "weight", above + "bias")}
                state |= {CLASSIFIER + name.removeprefix(above): value for name, value in own.items()}
                taken |= own.keys()
                break
    weight = state.get(CLASSIFIER + "weight")
    if weight is not None and CLASSIFIER + "bias" not in state:
        # a classifier without a bias is one whose bias is zero
        state[CLASSIFIER + "bias"] = weight.new_zeros(weight.shape[:1])
    left_out = [name for name in tensors if name not in taken and name not in _UNUSED]
    return FoundOSNet(place, state, left_out)


def describe_content(content: Mapping[str, Any]) -> str:
    """Say what a file holds, as "a ResNet-50 checkpoint"."""
    keys = set(map(_name, content))
    if own := own_file(content):
        return own
    for needed, words in _STATES:
        if needed <= keys:
            return words
    tensors = max((tensors_of(values) for _, values in _dictionaries(content)), key=len)
    if not tensors:
        return f"no weights (its entries: {', '.join(sorted(keys)[:5])})" if keys else "an empty dictionary"
    network = _network(tensors)
    if any(name.startswith("heads.") for name in tensors) and any(name.startswith("backbone.") for name in tensors):
        return f"a fast-reid checkpoint ({network})" if network else "a fast-reid checkpoint"
    if network:
        return f"a {network} checkpoint"
    name, value = next(iter(tensors.items()))
    return f"another network ({len(tensors)} tensors, for one {name} of shape {tuple(value.shape)})"


def own_file(content: Mapping[str, Any]) -> str | None:
    """Name a file of this project's that holds more than C; None for any other."""
    keys = set(map(_name, content))
    state = content.get("state")
    if {"state", "config", "iteration"} <= keys and isinstance(state, Mapping):
        if "networks" in state:
            return "our own training checkpoint"
        return "our own checkpoint of a C in training"
    metadata = content.get(METADATA)
    if isinstance(metadata, dict) and "intact_fast" in metadata:
        return "our own model file (for --model and SRReID.from_pretrained)"
    return None


_STATES: tuple[tuple[set[str], str], ...] = (
    ({"state", "param_groups"}, "an optimiser's state"),
    ({"last_epoch", "base_lrs"}, "the state of a schedule of learning rates"),
    ({"scale", "growth_factor", "backoff_factor"}, "the state of a gradient scaler"),
)
"""Entries of the states that trainings save apart."""

_NETWORKS: tuple[tuple[str, str], ...] = (
    (r"(^|\.)conv[2-4]\.[01]\.(gate\.fc1|conv2[a-d])\.", "part of an OSNet's"),
    (r"text_encoder\.|visual\.transformer\.resblocks\.", "CLIP"),
    (r"relative_position_bias_table$", "Swin transformer"),
    (r"blocks\.0\.attn\.qkv\.weight$", "vision transformer (ViT)"),
    (r"(^|\.)encoder\.layer\.0\.attention\.", "transformer"),
    (r"denseblock1\.", "DenseNet"),
    (r"(^|\.)Mixed_5b\.", "Inception"),
    (r"(^|\.)model\.\d+\.cv1\.conv\.weight$", "YOLO detector"),
    (r"(^|\.)features\.1\.conv\.0\.", "MobileNetV2"),
    (r"(^|\.)(conv_stem|_conv_stem)\.weight$", "EfficientNet"),
    (r"(^|\.)features\.0\.weight$", "VGG or AlexNet"),
    (r"(^|\.)stem\.weight$", "super-resolution network (our G)"),
)
"""A name that only one family of networks has."""

_RESNETS: dict[tuple[bool, tuple[int, ...]], str] = {
    (False, (2, 2, 2, 2)): "18",
    (False, (3, 4, 6, 3)): "34",
    (True, (3, 4, 6, 3)): "50",
    (True, (3, 4, 23, 3)): "101",
    (True, (3, 8, 36, 3)): "152",
}
"""By whether blocks have a bottleneck, and the blocks of each stage."""


def _network(tensors: Mapping[str, Tensor]) -> str | None:
    """Name a network by the names of its parameters."""
    stages: dict[int, set[int]] = {}
    for name in tensors:
        if matched := re.search(r"(?:^|\.)layer([1-4])\.(\d+)\.", name):
            stages.setdefault(int(matched[1]), set()).add(int(matched[2]))
    if len(stages) == 4:
        blocks = tuple(len(stages[stage]) for stage in sorted(stages))
        bottleneck = any(re.search(r"(^|\.)layer1\.0\.conv3\.weight$", name) for name in tensors)
        kind = "SE-ResNet" if any(".se." in name or ".se_module." in name for name in tensors) else "ResNet"
        ibn = "-IBN" if any(name.endswith(".IN.weight") for name in tensors) else ""
        depth = _RESNETS.get((bottleneck, blocks))
        return kind + (f"-{depth}" if depth else "") + ibn
    for pattern, words in _NETWORKS:
        if any(re.search(pattern, name) for name in tensors):
            return words
    return None
