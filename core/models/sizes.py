"""The sizes of the backbones, from the configurations that their authors publish (no torch here).

A test compares them with transformers' own classes.
"""

from __future__ import annotations

from collections.abc import Mapping

from core.definition.size import Size, Tower

_VL_WORDS, _LARGE_WORDS = 151936, 152064


def _qwen(layers: int, hidden: int, inner: int, heads: int, kv: int, words: int = _LARGE_WORDS, head: int = 0) -> Tower:
    return Tower(layers, hidden, inner, heads, kv, head, words)


def _merger(vision: int, out: int, places: int = 4) -> float:
    """Two linear layers over ``places`` neighbouring patches."""
    return (vision * places) ** 2 + vision * places * out


def _qwen25_vl(language: Tower, inner: int) -> Size:
    return Size(language, Tower(32, 1280, inner, 16, 16), _merger(1280, language.hidden))


def _qwen2_vl(language: Tower) -> Size:
    return Size(language, Tower(32, 1280, 5120, 16, 16, gated=False), _merger(1280, language.hidden))


def _qwen3_vl(language: Tower, vision: Tower) -> Size:
    # the merger after the last layer, and one for each of three depths
    return Size(language, vision, 4 * _merger(vision.hidden, language.hidden))


def _internvl(language: Tower) -> Size:
    return Size(language, Tower(24, 1024, 4096, 16, 16, gated=False), 4 * 1024 * language.hidden + language.hidden**2)


_QWEN2_7B = _qwen(28, 3584, 18944, 28, 4)
_SMALL_EYE = Tower(24, 1024, 4096, 16, 16, gated=False)
_LARGE_EYE = Tower(27, 1152, 4304, 16, 16, gated=False)

QWEN25_VL: Mapping[str, Size] = {
    "qwen2.5-vl-3b": _qwen25_vl(_qwen(36, 2048, 11008, 16, 2, _VL_WORDS), 3420),
    "qwen2.5-vl-7b": _qwen25_vl(_QWEN2_7B, 3420),
    "qwen2.5-vl-32b": _qwen25_vl(_qwen(64, 5120, 27648, 40, 8), 3456),
    "qwen2.5-vl-72b": _qwen25_vl(_qwen(80, 8192, 29568, 64, 8), 3456),
}
QWEN2_VL: Mapping[str, Size] = {
    "qwen2-vl-2b": _qwen2_vl(_qwen(28, 1536, 8960, 12, 2, _VL_WORDS)),
    "qwen2-vl-7b": _qwen2_vl(_QWEN2_7B),
}
QWEN3_VL: Mapping[str, Size] = {
    "qwen3-vl-2b": _qwen3_vl(_qwen(28, 2048, 6144, 16, 8, _VL_WORDS, 128), _SMALL_EYE),
    "qwen3-vl-4b": _qwen3_vl(_qwen(36, 2560, 9728, 32, 8, _VL_WORDS, 128), _SMALL_EYE),
    "qwen3-vl-8b": _qwen3_vl(_qwen(36, 4096, 12288, 32, 8, _VL_WORDS, 128), _LARGE_EYE),
    "qwen3-vl-32b": _qwen3_vl(_qwen(64, 5120, 25600, 64, 8, _VL_WORDS, 128), _LARGE_EYE),
}
INTERNVL: Mapping[str, Size] = {
    "internvl2-8b": _internvl(Tower(32, 4096, 14336, 32, 8, vocabulary=92553)),
    "internvl3-1b": _internvl(_qwen(24, 896, 4864, 14, 2, 151674)),
    "internvl3-2b": _internvl(_qwen(28, 1536, 8960, 12, 2, 151674)),
    "internvl3-8b": _internvl(_qwen(28, 3584, 18944, 28, 4, 151674)),
}
QWEN_TEXT: Mapping[str, Size] = {
    "qwen2.5-7b": Size(_QWEN2_7B),
    "qwen3-8b": Size(_qwen(36, 4096, 12288, 32, 8, _VL_WORDS, 128)),
}
