"""Pictures of strangers: whatever is broken in one is a refusal, never a failure."""

import random
import warnings
from io import BytesIO

import pytest
from PIL import Image, ImageCms

from amrutam.domain.errors import Unavailable, ValidationFailed
from amrutam.pictures import MOST_WAITING, PHOTO_PIXELS, SCAN_PIXELS, Pictures
from tests.pictures import bomb, opened, photographed, picture


@pytest.fixture
def pictures() -> Pictures:
    """With a thread of its own."""
    return Pictures()


async def test_every_orientation_is_turned_upright(pictures: Pictures) -> None:
    left_is = {1: "left", 2: "right", 3: "right", 4: "left", 5: "top", 6: "top", 7: "bottom", 8: "bottom"}
    places = {"left": (30, 256), "right": (480, 256), "top": (256, 30), "bottom": (256, 480)}
    for orientation, side in left_is.items():
        image = opened(await pictures.photo(photographed(orientation)))
        pixel = image.getpixel(places[side])
        assert isinstance(pixel, tuple)
        assert pixel[0] > pixel[2], orientation  # what was left is red


async def test_broken_pictures_are_refused_and_nothing_else_happens(pictures: Pictures) -> None:
    chance = random.Random(7)  # noqa: S311 - the same damage each time
    whole = [photographed(), picture("PNG", (90, 60)), picture("PNG", (90, 60), "P"), picture("WEBP", (90, 60))]
    refused: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own, about what it skips
        for _ in range(400):
            damaged = bytearray(chance.choice(whole))
            for _ in range(chance.choice((1, 3, 20))):
                damaged[chance.randrange(min(len(damaged), 400))] = chance.randrange(256)
            try:
                photo = await pictures.photo(bytes(damaged))
            except ValidationFailed as refusal:
                refused.append(refusal.faults[0].code)
            else:
                assert opened(photo).mode == "RGB"
    assert 50 < len(refused) < 400
    assert set(refused) <= {"broken", "too_many_pixels"}


async def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(pictures: Pictures) -> None:
    sent = bomb()
    assert len(sent) < 64 * 1024
    for work, most in ((pictures.photo(sent), PHOTO_PIXELS), (pictures.check(sent), SCAN_PIXELS)):
        with pytest.raises(ValidationFailed, match=f"{most // 1_000_000} million"):
            await work


async def test_a_colour_profile_that_does_not_fit_its_picture_counts_for_nothing(pictures: Pictures) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))  # pyright: ignore[reportUnknownArgumentType]
    out = BytesIO()
    Image.open(BytesIO(picture())).save(out, "JPEG", icc_profile=lab.tobytes())
    unfit = opened(await pictures.photo(out.getvalue()))
    assert unfit.info.get("icc_profile") is None
    assert unfit.getpixel((30, 256)) == opened(await pictures.photo(picture())).getpixel((30, 256))


async def test_colours_are_those_that_the_profile_says(pictures: Pictures) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()  # pyright: ignore[reportUnknownArgumentType]
    swapped = srgb.replace(b"rXYZ", b"none").replace(b"bXYZ", b"rXYZ").replace(b"none", b"bXYZ")
    out = BytesIO()
    Image.open(BytesIO(picture())).save(out, "JPEG", icc_profile=swapped)
    shown = opened(await pictures.photo(out.getvalue())).getpixel((30, 256))
    assert isinstance(shown, tuple)
    assert shown[2] > 150 > shown[0]  # the file's red is this profile's blue


async def test_what_is_transparent_is_white(pictures: Pictures) -> None:
    out = BytesIO()
    Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(out, "PNG")
    assert opened(await pictures.photo(out.getvalue())).getpixel((32, 32)) == (255, 255, 255)


async def test_who_comes_when_too_many_wait_is_told_at_once(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "_waiting", MOST_WAITING)
    with pytest.raises(Unavailable):
        await pictures.photo(picture())
