"""Media: what cannot be read is named, frames come in order."""

import struct
import sys
import zlib

import pytest
from PIL import Image

from core.data.examples import Media, pair
from core.data.generated import blank
from core.data.media import MediaError, frame_indices, load_frames, load_image, media_missing
from core.errors import EnvironmentFault


def image(path):
    return Media("image", path=path)


def bomb(side):
    """A tiny PNG that claims to be ``side`` x ``side`` pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(MediaError, match=r"gone\.png does not exist"):
        load_image(image(tmp_path / "gone.png"))
    assert media_missing(pair("1", "q", "a", "b", media=[image(tmp_path / "gone.png")]))
    assert not media_missing(pair("1", "q", "a", "b", media=[Media("image", data=blank())]))


def test_a_truncated_image_is_refused(tmp_path):
    path = tmp_path / "half.png"
    Image.effect_noise((64, 64), 50).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(MediaError, match=r"half\.png cannot be read"):
        load_image(image(path))


@pytest.mark.parametrize("side", [11_000, 60_000])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path, side):
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(side))
    with pytest.raises(MediaError, match=r"bomb\.png (has \d+ x \d+ pixels|is refused as a decompression bomb)"):
        load_image(image(path))


def test_what_is_no_image_is_refused(tmp_path):
    path = tmp_path / "text.png"
    path.write_text("hello")
    with pytest.raises(MediaError, match="no image that Pillow knows"):
        load_image(image(path))
    with pytest.raises(MediaError, match="cannot be read"):
        load_image(image(tmp_path))


def test_palettes_and_transparency_become_rgb(tmp_path):
    for mode in ("P", "RGBA", "L", "LA", "1"):
        path = tmp_path / f"{mode}.png"
        Image.new(mode, (8, 8)).save(path)
        assert load_image(image(path)).mode == "RGB"


def test_frames_are_evenly_spaced_and_ascending():
    assert frame_indices(4, 8) == [0, 1, 2, 3]
    assert frame_indices(100, 4) == [12, 37, 62, 87]
    assert frame_indices(5, 2) == [1, 3]


def test_frames_of_a_folder_come_in_numeric_order(tmp_path):
    for number in range(12):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"frame_{number}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    frames = load_frames(Media("video", path=tmp_path), 6)
    assert [frame.getpixel((0, 0))[0] for frame in frames] == [1, 3, 5, 7, 9, 11]


def test_an_empty_folder_and_a_missing_video_are_refused(tmp_path):
    with pytest.raises(MediaError, match="holds no images"):
        load_frames(Media("video", path=tmp_path), 4)
    with pytest.raises(MediaError, match="does not exist"):
        load_frames(Media("video", path=tmp_path / "gone.mp4"), 4)


def test_a_video_file_without_a_decoder_says_how_to_extract_frames(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"x")
    with pytest.raises(EnvironmentFault, match="ffmpeg -i"):
        load_frames(Media("video", path=path), 4)


def test_frames_of_a_video_file_come_in_order(tmp_path):
    av = pytest.importorskip("av", reason="PyAV is an extra")
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for number in range(20):
            frame = av.VideoFrame.from_image(Image.new("RGB", (64, 64), (number * 12,) * 3))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    greys = [frame.getpixel((32, 32))[0] for frame in load_frames(Media("video", path=path), 4)]
    assert [round(grey / 12) for grey in greys] == [2, 7, 12, 17]
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(MediaError, match=r"clip\.mp4 cannot be decoded"):
        load_frames(Media("video", path=path), 4)
