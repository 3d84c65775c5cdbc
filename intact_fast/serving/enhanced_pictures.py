"""Enhanced pictures as files: what a picture holds besides 8-bit RGB is kept where its file can hold it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from intact_fast.config.options import Interpolation
from intact_fast.data.decoding import has_several_frames, has_sixteen_bits, read_upright, unreadable
from intact_fast.data.degradation import resize, to_rgb
from intact_fast.data.picture_files import picture_suffixes
from intact_fast.files import save_picture
from intact_fast.tallies import tally

_HOLD_OPACITY = ("AVIF", "HEIF", "JPEG2000", "PNG", "TGA", "TIFF", "WEBP")
_HOLD_PROFILE = ("AVIF", "HEIF", "JPEG", "PNG", "TIFF", "WEBP")
_PNG = ".png"


@dataclass(frozen=True)
class Original:
    """A picture to enhance.

    Attributes:
        image: 8-bit RGB, upright.
        opacity: Its alpha channel, 8-bit grey of the same size; None where it has none.
        profile: ICC profile of its RGB.
        is_deep: It holds 16 bits.
        is_animated: It is the first of several frames.
    """

    image: Image.Image
    opacity: Image.Image | None
    profile: bytes | None
    is_deep: bool
    is_animated: bool


def read_original(path: Path) -> Original:
    """Read a picture with all that can be written again.

    Raises:
        UserError: The file is missing, damaged or no picture.
    """
    native = read_upright(path)
    try:
        image = to_rgb(native)
    except ValueError as error:
        raise unreadable(path, error) from error
    # profiles of grey and of inks do not describe RGB
    profile = native.info.get("icc_profile") if native.mode in ("RGB", "RGBA", "RGBX", "P") else None
    return Original(image, _opacity(native), profile, has_sixteen_bits(native), has_several_frames(path))


def _opacity(native: Image.Image) -> Image.Image | None:
    # 16 bits of grey with one transparent level have no way to an alpha channel
    if not native.has_transparency_data or native.mode.startswith("I"):
        return None
    return (native if native.mode in ("LA", "RGBA") else native.convert("RGBA")).getchannel("A")


def written_name(path: Path) -> Path:
    """Name the file of an enhanced picture: the same name, followed by ``.png`` where its format cannot be written."""
    return path if is_writable(path) else path.with_name(path.name + _PNG)


def is_writable(path: Path) -> bool:
    """Say whether a name is that of a picture format that can be written."""
    suffix = path.suffix.lower()
    return suffix in picture_suffixes() and Image.registered_extensions()[suffix] in Image.SAVE


def save_enhanced(pixels: Tensor, original: Original, path: Path, interpolation: Interpolation) -> None:
    """Write an enhanced picture in the format of the name, and tally what of the original it does not hold.

    Args:
        pixels: 3×H×W from 0 to 1.
        original: What was enhanced.
        path: File to write.
        interpolation: Filter that enlarges its opacity.

    Raises:
        UserError: It cannot be written.
    """
    array = (255 * pixels).round().byte().permute(1, 2, 0).cpu().numpy()
    image = Image.fromarray(array)
    file_format = Image.registered_extensions()[path.suffix.lower()]
    if original.opacity is not None:
        if file_format in _HOLD_OPACITY:
            image.putalpha(resize(original.opacity, (image.height, image.width), interpolation))
        elif original.opacity.getextrema() != (255, 255):
            tally(f"lost opacity, which {file_format} does not hold; name them .png", path)
    if original.is_deep:
        tally("with 16 bits were written with 8, which the networks compute with", path)
    if original.is_animated:
        tally("with several frames: the first is enhanced and written", path)
    options: dict[str, object] = {"quality": 95} if file_format == "JPEG" else {}
    if original.profile is not None and file_format in _HOLD_PROFILE:
        options["icc_profile"] = original.profile
    save_picture(image, path, file_format, **options)
