"""Names of devices, on machines with none, one or two GPUs (counts are replaced: none needs to be there)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from intact_fast.config.checks import check_config
from intact_fast.config.command_line import from_yaml, to_yaml
from intact_fast.config.devices import computes_bfloat16, find_device, parse_device
from intact_fast.config.options import Config
from intact_fast.errors import UserError
from intact_fast.training.distributed.process import choose_device
from intact_fast.training.step.plan import autocast_type


@pytest.fixture
def gpus(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """A machine with so many GPUs; gives those that were made the current one."""
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: request.param)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    for name in ("LOCAL_RANK", "WORLD_SIZE", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    return chosen


@pytest.mark.parametrize(
    ("name", "expected"),
    [("auto", ("auto", None)), ("cpu", ("cpu", None)), ("cpu:0", ("cpu", 0)), ("cuda:12", ("cuda", 12))],
)
def test_names_are_split(name: str, expected: tuple[str, int | None]) -> None:
    assert parse_device(name) == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        *[(name, rf"^--device {name}: trainings and models run on cpu or cuda; use auto") for name in ("mps", "xpu")],
        *[(name, "use auto, cpu, cuda or cuda:N$") for name in ("", "cuda:", "cuda:x", "cuda:-1", "gpu", "auto:1")],
        ("1", "use cuda:1$"),
        ("cpu:3", "^--device cpu:3: the processor is one device; use cpu$"),
    ],
)
def test_other_names_get_one_line(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parse_device(name)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=message):
        check_config(replace(Config(), device=name))
    with pytest.raises(UserError, match=message):
        choose_device(name)


@pytest.mark.parametrize("gpus", [2], indirect=True)
def test_a_gpu_of_two(gpus: list[torch.device], monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device("cuda:1") == find_device("cuda:1") == torch.device("cuda", 1)
    assert gpus == [torch.device("cuda", 1)], "what names no device goes there, too"
    assert choose_device("cuda") == choose_device("auto") == torch.device("cuda", 0)
    assert find_device("auto") == torch.device("cuda")
    assert find_device(torch.device("cuda", 1)) == torch.device("cuda", 1)
    for name in ("cpu", "cpu:0"):
        assert choose_device(name) == find_device(name) == torch.device("cpu")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device("cuda") == torch.device("cuda", 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        UserError, match=r"--device cuda:0: each process of torchrun takes a GPU of its own; use --devi"
    ):
        choose_device("cuda:0")


@pytest.mark.parametrize(
    ("gpus", "message"),
    [
        (0, "^--device cuda:99: .*; install a CUDA build of torch, or use --device cpu$"),
        (1, "^--device cuda:99: PyTorch sees 1 GPU here; use cuda:0$"),
        (2, "^--device cuda:99: PyTorch sees 2 GPUs here; use cuda:0 to cuda:1$"),
    ],
    indirect=["gpus"],
)
def test_a_gpu_that_is_not_there(gpus: list[torch.device], message: str) -> None:
    with pytest.raises(UserError, match=message):
        choose_device("cuda:99")
    assert gpus == []


@pytest.mark.parametrize("gpus", [1], indirect=True)
def test_hidden_gpus_are_told(gpus: list[torch.device], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with pytest.raises(UserError, match=r"\(CUDA_VISIBLE_DEVICES=3 numbers them anew\); use cuda:0$"):
        choose_device("cuda:3")


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1"])
def test_configurations_keep_the_name(device: str) -> None:
    assert from_yaml(to_yaml(replace(Config(), device=device)), "config.yaml").device == device


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 5), None), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)]
)
def test_a_gpu_without_bfloat16_trains_in_float32(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: torch.dtype | None
) -> None:
    """Unless another type is asked for."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    device = torch.device("cuda", 0)
    training = Config().training
    assert computes_bfloat16(device) == (expected is not None)
    assert autocast_type(replace(training, precision="auto"), device) == expected
    assert autocast_type(replace(training, precision="bf16"), device) == torch.bfloat16
    assert autocast_type(replace(training, precision="fp16"), device) == torch.float16


@pytest.mark.parametrize(("amx", "avx512_bf16"), [(False, False), (True, False), (False, True)])
def test_a_processor_trains_in_bfloat16_where_it_computes_it(
    monkeypatch: pytest.MonkeyPatch, amx: bool, avx512_bf16: bool
) -> None:
    """Unless another type is asked for; AVX-512 alone does not."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    device, training = torch.device("cpu"), Config().training
    expected = torch.bfloat16 if amx or avx512_bf16 else None
    assert computes_bfloat16(device) == (expected is not None)
    assert autocast_type(replace(training, precision="auto"), device) == expected
    assert autocast_type(replace(training, precision="fp32"), device) is None
    assert autocast_type(replace(training, precision="bf16"), device) == torch.bfloat16
