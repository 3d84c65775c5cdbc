from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from intact_fast.config.options import CriticConfig
from intact_fast.data.batches import Batch
from intact_fast.errors import UserError
from intact_fast.models import build_osnet
from intact_fast.training.critic import CriticTask, critic_checkpoint, initialise_critic, load_critic
from training_cases import SINGLE_PROCESS, batch_of


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    path = tmp_path / "critic.pt"
    torch.save(critic_checkpoint(build_osnet("osnet_x0_25", 7), "osnet_x0_25"), path)
    return path


def test_own_checkpoint_comes_back(checkpoint: Path) -> None:
    torch.manual_seed(1)
    expected = build_osnet("osnet_x0_25", 7).state_dict()
    loaded = load_critic(checkpoint, "osnet_x0_25", 7).state_dict()
    assert all(torch.equal(expected[name], loaded[name]) for name in expected)


@pytest.mark.parametrize("arch", ["osnet_ibn_x1_0", "osnet_ain_x0_25"])
def test_instance_normalisation_trains_as_c(tmp_path: Path, arch: str) -> None:
    """Two updates, its file, and the way back; no option names the architecture in an evaluation."""
    torch.manual_seed(0)
    critic = build_osnet(arch, 5)
    before = {name: value.clone() for name, value in critic.state_dict().items()}
    task = CriticTask(critic, CriticConfig(arch=arch, iterations=2), SINGLE_PROCESS)  # type: ignore[arg-type]
    losses = [task.step(batch_of(seed), seed, detailed=True)["loss/critic"] for seed in range(2)]
    assert torch.stack(losses).isfinite().all()  # type: ignore[arg-type]
    after = critic.state_dict()
    for name in ("conv1.bn.weight", "conv2.1.IN.bias", "fc.0.weight"):
        assert not torch.equal(before[name], after[name])
    torch.save(critic_checkpoint(critic, arch), tmp_path / "critic.pt")
    loaded = load_critic(tmp_path / "critic.pt", None, None, option="--critic")
    assert loaded.name == arch
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in after.items())
    with pytest.raises(UserError, match=rf"holds {arch}, --critic\.arch is osnet_x1_0; set --critic\.arch {arch}$"):
        load_critic(tmp_path / "critic.pt", "osnet_x1_0", 5)


def test_a_file_without_classifier_is_a_backbone(tmp_path: Path) -> None:
    torch.manual_seed(1)
    state = {k: v for k, v in build_osnet("osnet_x0_25", 7).state_dict().items() if not k.startswith("classifier")}
    torch.save(state, tmp_path / "osnet.pth")
    with pytest.raises(UserError, match=r"it has no classifier, the training split has 7; use --critic\.init"):
        load_critic(tmp_path / "osnet.pth", "osnet_x0_25", 7)
    assert load_critic(tmp_path / "osnet.pth", None, None, "--critic").num_classes == 0
    critic = build_osnet("osnet_x0_25", 4)
    initialise_critic(critic, tmp_path / "osnet.pth", "osnet_x0_25")
    assert torch.equal(critic.conv1.conv.weight, state["conv1.conv.weight"])


@pytest.mark.parametrize("wrapped", ["bare", "engine", "data-parallel"])
def test_torchreid_forms(tmp_path: Path, wrapped: str) -> None:
    state = build_osnet("osnet_x0_25", 7).state_dict()
    if wrapped == "data-parallel":
        state = {f"module.{name}": value for name, value in state.items()}
    path = tmp_path / "osnet.pth"
    torch.save(state if wrapped == "bare" else {"state_dict": state, "epoch": 60, "rank1": np.float32(0.9)}, path)
    assert load_critic(path, "osnet_x0_25", 7).num_classes == 7


def test_class_count_is_checked(checkpoint: Path) -> None:
    with pytest.raises(UserError, match=r"knows 7 identities, the training split has 9; use --critic\.init"):
        load_critic(checkpoint, "osnet_x0_25", 9)
    assert load_critic(checkpoint, "osnet_x0_25", None).num_classes == 7


def test_architecture_is_checked(checkpoint: Path) -> None:
    with pytest.raises(UserError, match=r"holds osnet_x0_25, --critic\.arch is osnet_x1_0; set --critic\.arch osnet"):
        load_critic(checkpoint, "osnet_x1_0", 7)


def test_loading_is_strict(checkpoint: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    del content["state_dict"]["conv4.1.gate.fc1.bias"]
    torch.save(content, checkpoint)
    with pytest.raises(UserError, match=r"1 parameters do not fit OSNet, for one conv4\.1\.gate\.fc1\.bias"):
        load_critic(checkpoint, "osnet_x0_25", 7)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all", None])
def test_broken_files_are_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"--critic\.checkpoint .*broken\.pth: (no such file|not a readable)"):
        load_critic(path, "osnet_x0_25", 7)


def test_pickled_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    torch.save({"state_dict": build_osnet}, path)
    with pytest.raises(UserError, match="not a readable checkpoint"):
        load_critic(path, "osnet_x0_25", 7)


def test_init_keeps_the_fresh_classifier(checkpoint: Path) -> None:
    torch.manual_seed(2)
    critic = build_osnet("osnet_x0_25", 4)
    fresh = critic.classifier.weight.clone()
    initialise_critic(critic, checkpoint, "osnet_x0_25")
    assert torch.equal(critic.classifier.weight, fresh)
    saved = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert torch.equal(critic.conv1.conv.weight, saved["conv1.conv.weight"])


def test_init_keeps_the_classifier_where_asked(checkpoint: Path) -> None:
    critic = build_osnet("osnet_x0_25", 7)
    initialise_critic(critic, checkpoint, "osnet_x0_25", keep_classifier=True)
    saved = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert torch.equal(critic.classifier.weight, saved["classifier.weight"])
    with pytest.raises(UserError, match=r"--critic\.keep-classifier: .* knows 7 identities"):
        initialise_critic(build_osnet("osnet_x0_25", 4), checkpoint, "osnet_x0_25", keep_classifier=True)


@pytest.mark.parametrize(("share", "expected"), [(0.0, {"hr"}), (0.5, {"hr", "lr"}), (1.0, {"lr"})])
def test_a_share_of_the_pictures_is_degraded(share: float, expected: set[str]) -> None:
    torch.manual_seed(0)
    critic = build_osnet("osnet_x0_25", 5)
    seen: list[torch.Tensor] = []
    critic.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    batch = batch_of(0, size=16)
    CriticTask(critic, CriticConfig(iterations=1, degraded=share), SINGLE_PROCESS).step(batch, 0, detailed=False)
    (x,) = seen
    kinds = set()
    for row, hr, lr in zip(x, batch.x_h, batch.x_l, strict=True):  # type: ignore[arg-type]
        assert torch.equal(row, hr) or torch.equal(row, lr)
        kinds.add("hr" if torch.equal(row, hr) else "lr")
    assert kinds == expected


def test_a_file_knows_how_its_critic_enlarges(tmp_path: Path) -> None:
    path = tmp_path / "critic.pt"
    torch.save(critic_checkpoint(build_osnet("osnet_x0_25", 7, enlarge=2), "osnet_x0_25"), path)
    assert load_critic(path, "osnet_x0_25", 7).enlarge == 2
    with pytest.raises(UserError, match=r"enlarges its pictures 2 times, --critic\.enlarge is 1; set --critic"):
        load_critic(path, "osnet_x0_25", 7, enlarge=1)


def test_a_critic_of_whole_pictures_may_stand_behind_a_smaller_g(tmp_path: Path) -> None:
    path = tmp_path / "critic.pt"
    torch.save(critic_checkpoint(build_osnet("osnet_x0_25", 7), "osnet_x0_25"), path)
    assert load_critic(path, "osnet_x0_25", 7, enlarge=2).enlarge == 2


def test_a_file_of_torchreids_enlarges_as_asked(tmp_path: Path) -> None:
    path = tmp_path / "osnet.pth"
    torch.save(build_osnet("osnet_x0_25", 7).state_dict(), path)
    assert load_critic(path, "osnet_x0_25", 7).enlarge == 1
    assert load_critic(path, "osnet_x0_25", 7, enlarge=2).enlarge == 2


def large_batch(seed: int) -> Batch:
    """A batch that OSNet can also see at half size."""
    batch = batch_of(seed)
    return replace(batch, x_h=F.interpolate(batch.x_h, scale_factor=2, mode="bicubic"), x_l=None)


def trained_by(config: CriticConfig, iterations: range, state: dict[str, Any] | None = None) -> CriticTask:
    """A small C after some iterations, from a saved state where there is one."""
    torch.manual_seed(0)
    task = CriticTask(build_osnet("osnet_x0_25", 5), config, SINGLE_PROCESS)
    if state is not None:
        task.load_state(copy.deepcopy(state))
    for iteration in iterations:
        task.step(large_batch(iteration), iteration, detailed=False)
    return task


def test_an_average_follows_weights_and_statistics() -> None:
    config = CriticConfig(iterations=4, ema_decay=0.75)
    task = trained_by(config, range(0))
    expected = {name: value.clone() for name, value in task.critic.state_dict().items()}
    for iteration in range(3):
        task.step(large_batch(iteration), iteration, detailed=False)
        for name, value in task.critic.state_dict().items():
            if value.is_floating_point():
                expected[name] = 0.75 * expected[name] + 0.25 * value
    assert task.trained is not task.critic
    assert not task.trained.training
    found = task.trained.state_dict()
    for name in ("conv1.conv.weight", "conv1.bn.running_var", "fc.1.running_mean", "classifier.bias"):
        torch.testing.assert_close(found[name], expected[name])
        assert not torch.equal(found[name], task.critic.state_dict()[name])


def test_an_average_leaves_the_training_as_it_is() -> None:
    plain, averaged = (trained_by(CriticConfig(iterations=4, ema_decay=decay), range(3)) for decay in (None, 0.9))
    assert plain.trained is plain.critic is plain.module
    assert plain.state().keys() == averaged.state().keys() - {"average"}
    theirs = averaged.critic.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in plain.critic.state_dict().items())


def test_a_decay_of_0_is_c_itself() -> None:
    task = trained_by(CriticConfig(iterations=4, ema_decay=0.0), range(2))
    found = task.trained.state_dict()
    assert all(
        torch.equal(value, found[name]) for name, value in task.critic.state_dict().items() if value.is_floating_point()
    )


@pytest.mark.parametrize(("share", "halved"), [(0.0, 0), (0.5, 2), (0.6, 3), (1.0, 4)])
def test_the_first_pictures_are_half_as_large(share: float, halved: int) -> None:
    task = trained_by(CriticConfig(iterations=4, half_size=share), range(0))
    seen: list[Tensor] = []
    task.critic.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    for iteration in range(4):
        task.step(large_batch(iteration), iteration, detailed=False)
    assert [tuple(x.shape[2:]) for x in seen] == [(32, 16)] * halved + [(64, 32)] * (4 - halved)
    if halved:
        pixels = large_batch(0).x_h.reshape(6, 3, 32, 2, 16, 2)
        torch.testing.assert_close(seen[0], pixels.mean(dim=(3, 5)))


def test_a_saved_state_goes_on_as_the_unbroken_training() -> None:
    config = CriticConfig(iterations=4, ema_decay=0.5, half_size=0.6)
    whole = trained_by(config, range(4))
    resumed = trained_by(config, range(2, 4), trained_by(config, range(2)).state())
    for name in ("critic", "average"):
        expected, found = whole.state()[name], resumed.state()[name]
        assert all(torch.equal(value, found[key]) for key, value in expected.items())
    buffers = dict(resumed.module.named_buffers())
    assert {"critic.conv1.bn.running_mean", "average.conv1.bn.running_mean"} <= buffers.keys()
