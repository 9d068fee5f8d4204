"""What the tiny twins of all backbones share: the same transformers classes at toy size, with random weights.

A twin has its own byte-level tokenizer with the family's control tokens, and the family's image processor with its own limits.
Its width grows with the model that it stands for, so that a grid over backbones trains different twins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from core.data.generated import COLOURS, QUESTIONS
from core.data.streams import stream_seed
from core.models.chat import SYSTEM, Dialect

LAYERS = 2
VISION_WIDTH = 64
MAX_PIXELS = 112 * 112
"""Images of a rehearsal are small; larger ones are scaled down to this area, whatever the definition says."""


def twin_tokenizer(dialect: Dialect, more: Sequence[str] = ()) -> Any:
    """A byte-level tokenizer with the family's control tokens, in which the words of the generated preferences are one token each.

    The merges are written down, not learnt: each word is built up from its first byte. Any other text is spelt out in bytes.

    Args:
        dialect: of the family.
        more: further texts whose words are one token each.
    """
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    texts = [
        SYSTEM,
        "system\n",
        "user\n",
        "assistant\n",
        *(text.format(colour) for pair in QUESTIONS for text in pair for colour in COLOURS),
        *more,
    ]
    words = dict.fromkeys(word for text in texts for word, _ in letters.pre_tokenize_str(text))
    vocabulary = {token: index for index, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges: dict[tuple[str, str], None] = {}
    for word in words:
        for end in range(1, len(word)):
            merges.setdefault((word[:end], word[end]))
            vocabulary.setdefault(word[: end + 1], len(vocabulary))
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges)))
    core.pre_tokenizer = letters
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(["<|endoftext|>", *dialect.control.values()])
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>")


def random_model(kind: Any, shape: Any, seed: int, attention: str) -> Any:
    """A model of this shape with random weights from the stream ``backbone`` of the trial's seed.

    The global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "backbone"))
        return kind._from_config(shape, attn_implementation=attention, dtype=torch.float32)


def text_shape(width: int, tokenizer: Any) -> dict[str, Any]:
    """The language model of a twin: everything that all families name alike.

    Args:
        width: hidden width, 16 per attention head.
        tokenizer: the twin's tokenizer.
    """
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": width // 16,
        "num_key_value_heads": width // 16,
        "max_position_embeddings": 4096,
        "initializer_range": 0.1,
        "pad_token_id": end,
        "bos_token_id": end,
        "eos_token_id": tokenizer.convert_tokens_to_ids("<|im_end|>"),
    }
