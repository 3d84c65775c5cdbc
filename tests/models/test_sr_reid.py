from __future__ import annotations

import torch
from PIL import Image

from intact_fast import SRReID
from intact_fast.models import Generator, build_osnet


def picture(width: int, height: int, seed: int) -> Image.Image:
    noise = torch.randint(
        0, 256, (height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    return Image.fromarray(noise.numpy())


def make(with_generator: bool = True) -> SRReID:
    torch.manual_seed(0)
    generator = Generator(widths=(4, 4, 4, 4)) if with_generator else None
    return SRReID(build_osnet("osnet_x0_25", 5), generator, size=(48, 32))


def test_pictures_of_any_size_give_features() -> None:
    model = make()
    features = model([picture(30, 70, 0), picture(8, 16, 1), picture(100, 48, 2)])
    assert features.shape == (3, model.feature_dim) == (3, 512)
    assert not features.requires_grad
    assert not model.training


def test_only_low_resolution_passes_through_g() -> None:
    model, bare = make(), make(with_generator=False)
    bare.critic.load_state_dict(model.critic.state_dict())
    images = [picture(30, 70, 0), picture(8, 16, 1)]
    assert torch.equal(model(images), bare(images, low_resolution=True))
    assert not torch.allclose(model(images, low_resolution=True), bare(images))


def test_a_picture_does_not_depend_on_its_batch() -> None:
    model = make()
    images = [picture(30, 70, i) for i in range(3)]
    together = model(images, low_resolution=True)
    alone = torch.cat([model([image], low_resolution=True) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
