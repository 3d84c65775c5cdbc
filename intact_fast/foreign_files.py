"""Files that others wrote: their tensors and plain values are read without running code, and a wrong file is named."""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import fractions
import io
import pathlib
import pickletools
import re
import types
import uuid
import warnings
import zipfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors import safe_open

from intact_fast.file_names import plain_path

METADATA = "__metadata__"
"""Key under which the description of a safetensors file stands beside its tensors, as in the file itself."""

_HEAD = 1024
_PICKLES_BEFORE_CONTENT = 2
_SMALL, _TIMES = 2**26, 20
"""Bytes that any file may unpack to, and how many times its own size a larger one may: weights hardly compress."""
_Allowed = Callable[..., Any] | tuple[Callable[..., Any], str]


def load_plain(path: Path) -> Any:
    """Load what a file of PyTorch's or of safetensors holds, onto the CPU; pickled code is never run.

    Besides tensors it may hold what trainings keep beside them: numbers and arrays of NumPy, the parser's options,
    paths, dates and the usual configuration objects. The latter come back as plain dictionaries or namespaces.

    Raises:
        Exception: Of any kind, where the file is broken or something else; `describe_file` says what it is.
    """
    _check_unpacked(path)
    if is_safetensors(path):
        with plain_path(path) as plain, safe_open(plain, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return {**tensors, METADATA: metadata} if metadata else tensors
    with ExitStack() as stack:
        stack.enter_context(torch.serialization.safe_globals(_ALLOWED))
        stack.enter_context(warnings.catch_warnings())
        # it warns of what it then fails at, and the error says it better
        warnings.simplefilter("ignore")
        # PyTorch takes this name for the format; an open file has none
        is_misnamed = path.suffix == ".safetensors"
        source = stack.enter_context(path.open("rb")) if is_misnamed else path
        content = torch.load(source, map_location="cpu", weights_only=True)
    _check_sizes(content, _most_bytes(path))
    return content


class Oversized(ValueError):
    """A file unpacks to many times its size, or claims tensors that it has no values for."""


def _most_bytes(path: Path) -> int:
    return max(_SMALL, _TIMES * path.stat().st_size)


def _check_unpacked(path: Path) -> None:
    """Refuse a tar archive, and a ZIP archive that is small until it is unpacked; PyTorch would unpack either."""
    head = _head(path)
    if _is_tar(head):
        raise ValueError("a tar archive")
    if head.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(part.file_size for part in archive.infolist())
        if unpacked > _most_bytes(path):
            raise Oversized(f"{unpacked:,} bytes in {path.stat().st_size:,}")


def _check_sizes(content: Any, most: int) -> None:
    """Refuse tensors that claim more than the file can hold: one number, expanded, fills any memory once it is copied.

    Each value is looked at once, as a pickle can hold the same list in many places.
    """
    waiting, known = [content], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, torch.Tensor):
            if value.layout == torch.strided and value.numel() * value.element_size() > most:
                raise Oversized(f"a tensor of shape {tuple(value.shape)}")
        elif isinstance(value, np.ndarray):
            if value.nbytes > most:
                raise Oversized(f"an array of shape {value.shape}")
        elif isinstance(value, dict | list | tuple | set | frozenset) and id(value) not in known:
            known.add(id(value))
            waiting += value.values() if isinstance(value, dict) else value


def is_safetensors(path: Path) -> bool:
    """Tell by the first bytes: the length of a header, and its bracket."""
    head = _head(path)
    fits = int.from_bytes(head[:8], "little") <= path.stat().st_size
    return head[8:9] == b"{" and (fits or path.suffix == ".safetensors")


def describe_file(path: Path) -> str:
    """Say what a file is that `load_plain` cannot load, or that holds no dictionary, and what to do.

    Returns:
        Words after "not a readable checkpoint: ".
    """
    # what cannot be loaded is looked at below
    with suppress(Exception):
        try:
            return f"a {type(load_plain(path)).__name__}, and no dictionary of weights; save model.state_dict()"
        except Oversized as error:
            return f"a file that unpacks to many times its size ({error}); get it from elsewhere"
    try:
        return _describe(path, _head(path))
    # what is broken can fail anywhere, with any exception
    except Exception:
        return _BROKEN


def _describe(path: Path, head: bytes) -> str:
    if not head:
        return "an empty file; copy or download it again"
    for starts, words in _BEGINNINGS:
        if head.lstrip().lower().startswith(starts):
            return words
    if path.suffix == ".onnx":
        return "an ONNX graph, whose weights have other names; give the checkpoint that it was made from"
    if is_safetensors(path):
        return "a broken safetensors file; copy or download it again"
    # before ZIP, as it may hold a ZIP at its end
    if _is_tar(head):
        return "a tar archive; unpack it, and give the file in it"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return _describe_archive(archive)
    if head.startswith(b"PK"):
        return _CUT
    if head.startswith(b"\x80"):
        return _describe_pickles(path)
    if all(byte >= 32 or byte in b"\t\r\n" for byte in head):
        return "a text file; give the file of the weights"
    return "a file of no known format; give a .pth, .pt or .safetensors file"


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


_BROKEN = "a broken file; copy or download it again"
_CUT = "a broken file, whose end is missing; copy or download it again"
_BEGINNINGS: tuple[tuple[bytes | tuple[bytes, ...], str], ...] = (
    (b"version https://git-lfs", "a pointer of Git LFS, without the weights; run git lfs pull"),
    ((b"<!doctype", b"<html", b"<?xml"), "a web page, as a download that failed leaves; download the file itself"),
    (
        (b"\x1f\x8b", b"bzh", b"\xfd7zxz", b"7z\xbc\xaf", b"rar!", b"(\xb5/\xfd"),
        "a compressed file; unpack it, and give the file in it",
    ),
    (b"\x89hdf", "an HDF5 file, as Keras writes; give a checkpoint of PyTorch"),
    (b"\x93numpy", "a NumPy array; give a checkpoint of PyTorch"),
    ((b"\xff\xd8\xff", b"\x89png", b"gif8"), "a picture; give the file of the weights"),
)
"""First bytes, in lower case, and what they mean."""


def _describe_archive(archive: zipfile.ZipFile) -> str:
    names = [name.partition("/")[2] or name for name in archive.namelist()]
    if "constants.pkl" in names:
        return (
            "a TorchScript archive, which holds code; give the checkpoint that it was made from, or save its weights "
            "(torch.save(torch.jit.load(FILE).state_dict(), NEW))"
        )
    if any(name.endswith(("serialized_exported_program.json", "archive_format")) or ".pt2" in name for name in names):
        return "an archive of torch.export, which holds a graph; give the checkpoint that it was made from"
    if any(name.endswith(".npy") for name in names):
        return "an archive of NumPy arrays; give a checkpoint of PyTorch"
    pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
    if not pickles:
        return "a ZIP archive; unpack it, and give the file in it"
    return _describe_code(io.BytesIO(archive.read(pickles[0])))


def _describe_pickles(path: Path) -> str:
    """Describe a file of PyTorch's former format: a number, two more pickles, then the content's."""
    with path.open("rb") as file:
        numbers = [argument for _, argument, _ in pickletools.genops(file)]
        if torch.serialization.MAGIC_NUMBER not in numbers:
            return "a plain pickle, which torch.save did not write; write its weights with torch.save"
        try:
            for _ in range(_PICKLES_BEFORE_CONTENT):
                list(pickletools.genops(file))
            return _describe_code(file)
        except ValueError:
            return _CUT


def _describe_code(file: BinaryIO) -> str:
    """Name what a pickle needs beyond plain values."""
    needed: list[str] = []
    words: set[str] = set()
    protocol = 2
    for operation, argument, _ in pickletools.genops(file):
        if operation.name == "GLOBAL":
            needed.append(str(argument).replace(" ", "."))
        elif operation.name == "PROTO":
            protocol = int(str(argument))
        elif isinstance(argument, str):
            words.add(argument)
    weights = "save the weights alone where it was made (torch.save(model.state_dict(), FILE))"
    if protocol > 2:
        return f"written with pickle protocol {protocol}, which PyTorch reads by running code; {weights}"
    foreign = [name for name in needed if name not in _ALLOWED_NAMES and not _TORCHS_OWN.match(name)]
    if not foreign:
        return _CUT
    if {"_modules", "_parameters"} <= words:
        return f"a pickle of a whole module ({foreign[0]}), which is code; {weights}"
    return f"holds code ({foreign[0]}), which is not run; {weights}"


_TORCHS_OWN = re.compile(
    r"torch\.\w+$|torch\.(_utils|storage|_tensor|serialization|nn\.parameter)\.|collections\.(OrderedDict|Counter)$|"
    r"_codecs\.encode$|(builtins|__builtin__)\.(set|bytearray|complex)$"
)
"""What PyTorch allows by itself."""


def _numpy() -> Iterable[_Allowed]:
    """NumPy's numbers and arrays; its module has had two names."""
    scalar: Any = np.float32(0).__reduce__()[0]
    array: Any = np.zeros(1).__reduce__()[0]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        yield scalar, f"{module}.scalar"
        yield array, f"{module}._reconstruct"
    yield np.ndarray
    yield np.dtype
    # a set: some kinds have the same type on some machines
    yield from {type(np.dtype(kind)) for kind in "?bBhHiIlLqQefdgFDGSUOMmV"}


def _paths() -> Iterable[_Allowed]:
    """Paths of any system as pure ones, which exist on each; Python 3.13 has them in another module."""
    for module in ("pathlib", "pathlib._local"):
        for name in ("PosixPath", "PurePosixPath", "Path", "PurePath"):
            yield pathlib.PurePosixPath, f"{module}.{name}"
        for name in ("WindowsPath", "PureWindowsPath"):
            yield pathlib.PureWindowsPath, f"{module}.{name}"


def _dictionary(*_: object) -> collections.OrderedDict[Any, Any]:
    return collections.OrderedDict()


def _items(kind: type) -> _Allowed:
    """A container of values that are there; of a number, Python would make as many zeros as it says."""

    def make(values: Any = ()) -> Any:
        if not isinstance(values, list | tuple | dict | set | frozenset):
            raise ValueError(f"a {kind.__name__} of a {type(values).__name__}")
        return kind(values)

    return make, f"builtins.{kind.__name__}"


def _text(value: Any = "") -> str:
    # of a list of lists of lists the text is a thousand times as long
    if not isinstance(value, str | int | float):
        raise ValueError(f"a str of a {type(value).__name__}")
    return str(value)


def _fraction(numerator: Any = 0, denominator: Any = None) -> fractions.Fraction:
    # 1e999999999 takes hours and gigabytes
    if isinstance(numerator, str) and not re.fullmatch(r"-?[0-9]{1,1000}(/[0-9]{1,1000})?", numerator):
        raise ValueError("a Fraction of another text")
    return fractions.Fraction(numerator, denominator)


def _configurations() -> Iterable[_Allowed]:
    """Configuration objects of widespread libraries, as what they hold; their own code is not imported."""
    yield _dictionary, "collections.defaultdict"
    for name in (
        "yacs.config.CfgNode",
        "fvcore.common.config.CfgNode",
        "fastreid.config.config.CfgNode",
        "detectron2.config.config.CfgNode",
        "easydict.EasyDict",
        "addict.addict.Dict",
        "munch.Munch",
        "mmcv.utils.config.ConfigDict",
        "mmengine.config.config.ConfigDict",
        "pytorch_lightning.utilities.parsing.AttributeDict",
        "lightning.pytorch.utilities.parsing.AttributeDict",
        "lightning_fabric.utilities.data.AttributeDict",
        "lightning.fabric.utilities.data.AttributeDict",
    ):
        # a class, for it is made without a call; PyTorch fills no other dictionary but this and two more
        yield collections.OrderedDict, name
    for name in (
        "dictconfig.DictConfig",
        "listconfig.ListConfig",
        "base.ContainerMetadata",
        "base.Metadata",
        *(f"nodes.{kind}Node" for kind in ("Any", "Integer", "Float", "String", "Boolean", "Enum", "Path")),
    ):
        yield argparse.Namespace, f"omegaconf.{name}"
    yield argparse.Namespace, "typing.Any"


_ALLOWED: list[_Allowed] = [
    *_numpy(),
    *_paths(),
    *_configurations(),
    *(argparse.Namespace, types.SimpleNamespace, uuid.UUID, decimal.Decimal, (_fraction, "fractions.Fraction")),
    *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone),
    *((kind, f"builtins.{kind.__name__}") for kind in (int, float, bool, slice)),
    *(_items(kind) for kind in (list, dict, tuple, frozenset)),
    (_text, "builtins.str"),
]
"""What a file may hold besides tensors. None of it does anything but hold values."""

_ALLOWED_NAMES = {
    entry[1] if isinstance(entry, tuple) else f"{entry.__module__}.{entry.__qualname__}" for entry in _ALLOWED
}
