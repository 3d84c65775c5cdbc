"""Engines behind the retrieval module: the same features, and what happens when the module changes."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from intact_fast import SRReID, UserError
from intact_fast.models import Generator, build_osnet
from intact_fast.models.light_generator import LightGenerator
from intact_fast.serving import engines, running, super_resolver
from intact_fast.serving.super_resolver import SuperResolver

SIZE = (64, 32)


def array(height: int, seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (height, height // 2, 3), dtype=np.uint8)


HIGH, LOW = array(80, 0), array(20, 1)
PICTURES = [HIGH, LOW, array(24, 2)]


def make(name: str = "osnet_x0_25", light: bool = False, query: bool = False, **options: Any) -> SRReID:
    torch.manual_seed(0)
    critic = build_osnet(name, 5)
    generator = LightGenerator(8, 2, reparameterised=True) if light else Generator((4, 4, 4, 4), skip="add")
    with torch.no_grad():
        # statistics of real pictures, so that features differ
        critic.train()(torch.randn(8, 3, *SIZE))
        generator.train()(torch.randn(8, 3, *SIZE))
    query_critic = None
    if query:
        query_critic = copy.deepcopy(critic)
        nn.init.ones_(query_critic.get_parameter("fc.1.bias"))
    return SRReID(critic, generator, SIZE, query_critic=query_critic, **({"lr_height": 40} | options))


def close(a: Tensor, b: Tensor, atol: float = 1e-4) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


@pytest.fixture(params=["onnxruntime", "openvino"])
def engine(request: pytest.FixtureRequest) -> str:
    # importing OpenVINO is for the engine to do
    if find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Engines and precisions of all that are made, in their order."""
    found: list[tuple[str, str]] = []

    def make_inference(engine: Any, network: Any, method: Any, size: Any, precision: Any, threads: int) -> Any:
        found.append((engine, precision))
        return engines.make_inference(engine, network, method, size, precision, threads)

    monkeypatch.setattr(running, "make_inference", make_inference)
    return found


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    lines: list[str] = []
    monkeypatch.setattr(running, "tell", lines.append)
    running.tell_once.cache_clear()
    yield lines
    running.tell_once.cache_clear()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "form",
    [
        {"query": True, "fold": True},
        {"light": True, "name": "osnet_ain_x0_25"},
        {"name": "osnet_ibn_x1_0"},
    ],
    ids=str,
)
def test_features_are_pytorchs(engine: str, form: dict[str, Any]) -> None:
    expected, model = make(**form), make(**form, engine=engine)
    for pictures in (PICTURES, [LOW], [HIGH, HIGH]):
        close(model(pictures), expected(pictures))
        close(model(pictures, normalize=False), expected(pictures, normalize=False), atol=1e-3)
    close(model.super_resolve(PICTURES), expected.super_resolve(PICTURES), atol=1e-3)
    assert not model(PICTURES).requires_grad


def test_a_critic_that_enlarges_its_pictures(engine: str) -> None:
    torch.manual_seed(0)
    critic = build_osnet("osnet_x0_25", 3, enlarge=2)
    close(SRReID(critic, None, SIZE, engine=engine)(PICTURES), SRReID(critic, None, SIZE)(PICTURES))  # type: ignore[arg-type]


@pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
def test_openvino_comes_without_its_telemetry() -> None:
    """It forked the process that imported it, and told its maker of it."""
    code = """
import os, sys
os.register_at_fork(before=lambda: print("forks"))
from intact_fast.serving.engines import import_openvino
assert import_openvino() is import_openvino() is sys.modules["openvino"]
print("openvino_telemetry" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
def test_openvino_computes_bfloat16(made: list[tuple[str, str]]) -> None:
    close(make(engine="openvino", precision="bf16")(PICTURES), make()(PICTURES), atol=2e-2)
    assert made == [("openvino", "bf16")] * 2


def test_an_engine_is_made_once_and_again_when_the_module_changes(made: list[tuple[str, str]]) -> None:
    model, other = make(engine="onnxruntime"), make()
    with torch.no_grad():
        for parameter in other.generator.parameters():  # type: ignore[union-attr]
            parameter.mul_(0.9)
    before, after = make().super_resolve(LOW), other.super_resolve(LOW)
    assert not torch.allclose(before, after, atol=1e-2)
    for _ in range(2):
        close(model.super_resolve(LOW), before)
    assert len(made) == 1
    model.load_state_dict(other.state_dict())
    close(model.super_resolve(LOW), after)
    model.generator = make().generator
    close(model.super_resolve(LOW), before)
    assert len(made) == 3
    close(model.half().super_resolve(LOW), before, atol=1e-2)
    assert len(made) == 4


@pytest.mark.parametrize("query", [False, True], ids=["C", "C_q"])
def test_lr_pictures_pass_through_one_engine_of_both_networks(made: list[tuple[str, str]], query: bool) -> None:
    model = make(engine="onnxruntime", query=query)
    close(model([LOW]), make(query=query)([LOW]))
    assert len(made) == 1
    close(model(PICTURES), make(query=query)(PICTURES))
    assert len(made) == 2
    model.generator = other = make(light=True).generator
    expected = make(query=query)
    expected.generator = other
    close(model([LOW]), expected([LOW]))
    assert len(made) == 3


def test_an_engine_has_pytorchs_threads(made: list[tuple[str, str]]) -> None:
    before = torch.get_num_threads()
    model = make(engine="onnxruntime")
    expected = model.super_resolve(LOW)
    try:
        torch.set_num_threads(before + 1)
        close(model.super_resolve(LOW), expected)
    finally:
        torch.set_num_threads(before)
    assert len(made) == 2


def test_copies_make_their_own(tmp_path: Path, engine: str) -> None:
    model = make(engine=engine)
    expected = model(PICTURES)
    torch.save(model, tmp_path / "model.pt")
    for other in (
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        copy.copy(model),
        torch.load(tmp_path / "model.pt", weights_only=False),
    ):
        assert other.engine == engine
        assert torch.equal(other(PICTURES), expected)
    assert model.state_dict().keys() == make().state_dict().keys()


def _features_of(model: SRReID, answer: Any) -> None:
    answer.send(model(PICTURES).numpy())


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_a_forked_process_makes_its_own() -> None:
    """Threads of an engine do not survive a fork, and one without them would wait for ever."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = make(engine="onnxruntime")
        expected = model(PICTURES)
        mine, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("fork").Process(target=_features_of, args=(model, theirs))
        process.start()
        assert mine.poll(60), "the process gives no answer"
        close(torch.from_numpy(mine.recv()), expected)
        process.join(10)
    finally:
        torch.set_num_threads(before)


def test_threads_share_an_engine(engine: str, made: list[tuple[str, str]]) -> None:
    model, expected = make(engine=engine), make()
    found: dict[int, Tensor] = {}

    def serve(seed: int) -> None:
        for _ in range(5):
            found[seed] = model.super_resolve(array(20, seed))

    threads = [threading.Thread(target=serve, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    for seed, pictures in found.items():
        close(pictures, expected.super_resolve(array(20, seed)))


def test_pictures_of_another_size_run_in_pytorch(made: list[tuple[str, str]]) -> None:
    model = make(engine="onnxruntime")
    prepared = torch.rand(2, 3, 32, 32)
    assert torch.equal(model.embed(prepared), make().embed(prepared))
    assert model([]).shape == (0, 512)
    assert made == []


@pytest.mark.parametrize(
    ("installed", "precision", "expected"),
    [
        ((), "fp32", "torch"),
        (("onnxruntime",), "fp32", "onnxruntime"),
        (("onnxruntime", "openvino"), "fp32", "onnxruntime"),
        (("openvino",), "fp32", "openvino"),
        (("onnxruntime",), "bf16", "torch"),
        (("onnxruntime", "openvino"), "bf16", "openvino"),
        (("onnxruntime", "openvino"), "fp16", "torch"),
    ],
)
def test_the_fastest_that_is_installed(
    monkeypatch: pytest.MonkeyPatch, installed: tuple[str, ...], precision: Any, expected: str
) -> None:
    monkeypatch.setattr(engines, "is_installed", lambda name: name in installed)
    assert engines.fastest(precision) == expected


def test_auto_begins_with_pytorch_and_changes_when_it_pays(
    monkeypatch: pytest.MonkeyPatch, made: list[tuple[str, str]], told: list[str]
) -> None:
    model = make(engine="auto")
    expected = make()(PICTURES)
    assert torch.equal(model(PICTURES), expected)
    assert made == []
    monkeypatch.setattr(running, "PAYS_AFTER_S", 0.0)
    close(model(PICTURES), expected)
    assert made == [("onnxruntime", "fp32")] * 2
    assert told == ["engine auto: onnxruntime from here on; engine torch keeps PyTorch"]


def test_auto_names_a_package_that_would_be_faster(
    monkeypatch: pytest.MonkeyPatch, made: list[tuple[str, str]], told: list[str]
) -> None:
    monkeypatch.setattr(running, "PAYS_AFTER_S", 0.0)
    monkeypatch.setattr(engines, "is_installed", lambda name: False)
    model = make(engine="auto", mode="never")
    for _ in range(2):
        assert torch.equal(model(PICTURES), make(mode="never")(PICTURES))
    assert made == []
    assert told == [
        "engine auto: onnxruntime is not installed, and is faster with single crops; run "
        "pip install 'intact_fast[engines]'"
    ]


_SIGNAL_AFTER_ENGINES = """
import faulthandler, gc, os, signal, torch
from intact_fast import SRReID
from intact_fast.models import build_osnet
faulthandler.enable()
signal.signal(signal.SIGUSR1, lambda *signal: print("handled"))
models = [SRReID(build_osnet("osnet_x0_25", 3), None, (48, 32), engine="openvino") for _ in range(2)]
for model in models:
    model(torch.rand(1, 3, 48, 32))
# the older one first
models.pop(0), gc.collect(), models.pop(0), gc.collect()
del model
gc.collect()
os.kill(os.getpid(), signal.SIGUSR1)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a stack for signals")
def test_a_signal_is_handled_after_engines_are_gone() -> None:
    """OpenVINO's own memory was the stack for signals, and went with the engine."""
    done = subprocess.run([sys.executable, "-c", _SIGNAL_AFTER_ENGINES], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n")


@pytest.mark.parametrize("options", [{"compile": True}, {"precision": "fp16"}])
def test_auto_leaves_what_no_engine_does_to_pytorch(monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]) -> None:
    monkeypatch.setattr(running, "PAYS_AFTER_S", 0.0)
    assert make(engine="auto", **options)._engine_for("embed", torch.zeros(1, 3, *SIZE)) == "torch"
    assert make(engine="auto").half()._engine_for("embed", torch.zeros(1, 3, *SIZE)) == "torch"


def test_files_are_served_by_auto(tmp_path: Path) -> None:
    make().save_pretrained(tmp_path / "model.safetensors")
    torch.save(make().critic.state_dict(), tmp_path / "osnet.pth")
    assert make().engine == "torch"
    for loaded in (
        SRReID.from_pretrained(tmp_path / "model.safetensors"),
        SuperResolver.from_pretrained(tmp_path / "model.safetensors"),
        SRReID.from_torchreid(tmp_path / "osnet.pth"),
    ):
        assert loaded.engine == "auto"
    assert SRReID.from_pretrained(tmp_path / "model.safetensors", engine="torch").engine == "torch"


@pytest.mark.parametrize("computes", [True, False])
def test_precision_auto(monkeypatch: pytest.MonkeyPatch, told: list[str], computes: bool) -> None:
    monkeypatch.setattr(super_resolver, "computes_bfloat16", lambda device: computes)
    model = make(precision="auto")
    for _ in range(2):
        assert torch.equal(model(PICTURES), make(precision="bf16" if computes else "fp32")(PICTURES))
    assert told == ["precision auto: bfloat16, which cpu computes" if computes else "precision auto: float32 on cpu"]
    assert make(precision="auto", engine="onnxruntime").computes_in == "fp32"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "tensorrt"}, "engine 'tensorrt': use one of auto, torch, onnxruntime, openvino"),
        (
            {"engine": "onnxruntime", "precision": "bf16"},
            "onnxruntime: it does not compute bf16; use precision auto or",
        ),
        ({"engine": "onnxruntime", "compile": True}, "onnxruntime: PyTorch compiles its own networks alone"),
    ],
)
def test_what_an_engine_cannot_do_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_missing", lambda engine: ["openvino"])
    message = (
        r"^engine openvino: openvino is not installed; run pip install 'intact_fast\[engines\]', or use engine torch$"
    )
    with pytest.raises(UserError, match=message):
        make(engine="openvino")


def test_another_device_is_named() -> None:
    model = make(engine="onnxruntime").to("meta")
    with pytest.raises(
        ValueError, match="onnxruntime: it computes on a CPU, not on meta; use device cpu, or engine auto"
    ):
        model.embed(torch.zeros(1, 3, *SIZE))


def test_mixes_of_sizes_share_two_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph for one picture and one for several, of G and of C, however many of a batch are LR."""
    graphs: list[Any] = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network: compile_(network, backend=backend))
    model = make(compile=True, batch_size=6)
    for high, low in ((6, 0), (2, 4), (1, 3), (5, 1), (0, 1), (1, 1)):
        pictures = [array(80, i) for i in range(high)] + [array(20, i) for i in range(low)]
        close(model(pictures), make()(pictures))
    assert len(graphs) == 4
