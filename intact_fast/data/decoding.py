"""Decoding one picture file with Pillow: an upright picture, or an error that names the file."""

from __future__ import annotations

import errno
import warnings
from contextlib import ExitStack
from pathlib import Path

from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from intact_fast.data.picture_files import picture_suffixes, still_formats
from intact_fast.errors import UserError
from intact_fast.tallies import tally

AS_THEY_LIE = "with EXIF that cannot be read, taken as the pixels lie"
"""What is said of such pictures."""

_FRAMES = ("AVIF", "GIF", "PNG", "TIFF", "WEBP")
"""Formats of animations and documents; an MPO's second picture belongs to its camera."""
_SIXTEEN_BITS = "intact_fast: 16 bits"
MOST_PIXELS = 7680 * 4320
"""Of a picture: those of a frame of 8K video, of which a crop is a part. A file of 10 kB can claim a thousand times as
many, and would fill the memory with them."""
_OF_THE_MACHINE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

# Pillow says by Python's warnings, for each file again, that some tag of EXIF is damaged; the tally says it once
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")
# a picture of so many pixels is refused below, by name
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def read_upright(path: Path) -> Image.Image:
    """Decode a whole picture file in its own mode, turned upright by its EXIF orientation.

    Of a file with several pictures, the first counts. Where EXIF alone is damaged, the picture is taken as its pixels
    lie, and tallied.

    Args:
        path: Any format that Pillow reads; HEIF where ``pillow-heif`` is installed.

    Raises:
        UserError: The file is missing, damaged or no picture.
        OSError: The machine lacks something, such as open files.
    """
    picture_suffixes()  # lets Pillow open HEIF
    with ExitStack() as stack:
        # damaged files make Pillow's many readers raise anything at all, and nothing else happens here
        try:
            image = stack.enter_context(_opened(path))
            image.info[_SIXTEEN_BITS] = image.mode.startswith("I") or ";16" in str(image.tile)
            image.load()
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
                raise
            raise unreadable(path, error) from error
        return upright(image, path)


def _opened(path: Path) -> ImageFile.ImageFile:
    """Open a file without decoding it; other formats, for some of which Pillow starts a program, are not tried."""
    image = Image.open(path, formats=still_formats())
    if image.width * image.height > MOST_PIXELS:
        image.close()
        raise Image.DecompressionBombError
    return image


def picture_size(path: Path) -> tuple[int, int]:
    """Read the width and height of a picture, as its pixels lie, off its header.

    Raises:
        UserError: The file is missing or no picture.
        OSError: The machine lacks something, such as open files.
    """
    picture_suffixes()
    try:
        with _opened(path) as image:
            return image.size
    # as in `read_upright`
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
            raise
        raise unreadable(path, error) from error


def upright(image: Image.Image, name: Path | str) -> Image.Image:
    """Turn a picture upright; one whose EXIF Pillow cannot take stays as it lies, and is tallied."""
    image.load()
    try:
        turned = ImageOps.exif_transpose(image)
    # its readers of tags raise anything, too
    except Exception:
        tally(AS_THEY_LIE, name)
        lying = image.copy()
        # who looks at it again meets nothing to tally again
        for tags in ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"):
            lying.info.pop(tags, None)
        return lying
    assert turned is not None
    return turned


def has_sixteen_bits(image: Image.Image) -> bool:
    """Say whether the file of a picture from `read_upright` holds 16 bits; Pillow reads 16-bit RGB as 8-bit."""
    return bool(image.info.get(_SIXTEEN_BITS))


def has_several_frames(path: Path) -> bool:
    """Say whether a picture file is an animation or has several pages; not where what follows the first is damaged."""
    # as in `read_upright`
    try:
        with _opened(path) as image:
            return image.format in _FRAMES and bool(getattr(image, "is_animated", False))
    except Exception:
        return False


def unreadable(path: Path, error: Exception) -> UserError:
    """Name a file that gives no picture, why, and what to do."""
    remedy = "replace the file"
    if isinstance(error, FileNotFoundError):
        reason = "no such file"
    elif isinstance(error, PermissionError):
        reason, remedy = "permission denied", "allow reading it"
    elif isinstance(error, UnidentifiedImageError):
        head = _beginning(path)
        reason = "no picture format that is known" if head else "the file is empty"
        if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
            reason, remedy = "HEIF", "pip install pillow-heif"
    elif isinstance(error, OSError) and error.errno is not None:
        reason = error.strerror or str(error)
    elif isinstance(error, Image.DecompressionBombError):
        reason = f"more pixels than any crop has, {MOST_PIXELS:,}"
    else:
        reason = " ".join(str(error).split()) or "damaged"
    return UserError(f"{path}: unreadable picture ({reason}); {remedy}")


def _beginning(path: Path) -> bytes:
    """Give the first bytes of a file that was open a moment ago."""
    try:
        with path.open("rb") as file:
            return file.read(12)
    except OSError:
        return b"gone"
