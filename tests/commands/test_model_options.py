"""Options of the commands that load a model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from intact_fast import SRReID, UserError
from intact_fast.commands.model_options import ServingOptions
from intact_fast.models import Generator, build_osnet
from intact_fast.serving import engines


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "bf16"}, r"^--engine onnxruntime: it does not compute bf16; use precision auto or fp32"),
        ({"device": "cuda"}, r"^--engine onnxruntime: it computes on a CPU, not on cuda; use device cpu"),
    ],
)
def test_what_an_engine_cannot_do_is_a_users_mistake(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, str], message: str
) -> None:
    monkeypatch.setattr("intact_fast.commands.model_options.choose_device", torch.device)
    with pytest.raises(UserError, match=message):
        ServingOptions(**{"device": "cpu", "engine": "onnxruntime", **options}).load()  # type: ignore[arg-type]


def test_an_engine_that_is_not_installed_is_a_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_missing", lambda engine: ["openvino"])
    with pytest.raises(UserError, match=r"openvino is not installed; run pip install 'intact_fast\[engines\]'"):
        ServingOptions(device="cpu", engine="openvino").load_generator()


def test_a_model_is_loaded_with_its_engine(tmp_path: Path) -> None:
    model = SRReID(build_osnet("osnet_x0_25", 3), Generator((4, 4, 4, 4)), (48, 32))
    model.save_pretrained(tmp_path / "model.safetensors")
    for engine in ("auto", "torch"):
        options = ServingOptions(model=tmp_path / "model.safetensors", device="cpu", engine=engine)  # type: ignore[arg-type]
        assert (options.load().engine, options.load_generator().engine) == (engine, engine)
