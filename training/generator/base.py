"""The small base model's parts: Stable Diffusion's own, small enough to be taught on a CPU and to ship.

Its folder is read by any program that reads Stable Diffusion's.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import pre_tokenizers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from canicor.phantom import plain_film
from canicor.pipeline import PAPER_CLASS_PROMPT, VHS
from canicor.vhs import HeartSize

WIDTH, HEIGHT = 160, 128
"""Of its images, in pixels: a lateral chest is wider than high."""

FILM = plain_film() | {"ruler_share": 0.4}
"""How its phantoms are taken: all alike, and close, so that a vertebra has eleven pixels. Only the dogs differ."""

PROMPT = f"{PAPER_CLASS_PROMPT}, vertebral heart size {VHS}"

_LATENT_CHANNELS = 4
"""As Stable Diffusion's. A cell stands for 4 x 4 pixels, and not for its 8 x 8: a vertebra is as long as seven."""

_AUTOENCODER = (16, 32, 64)
_UNET = (32, 64, 112, 160)
"""Channels at each scale, from fine to coarse."""

_BLOCKS = ("Down", "Down", "CrossAttnDown", "CrossAttnDown")
"""Words are heard at the coarser scales alone: at the finer, attention would take more than half of the time."""

_GROUPS = 16
_WORDS = 128
"""Numbers that a word is told by."""

_START, _END = "<|startoftext|>", "<|endoftext|>"
_AT_END = "</w>"
_LONGEST_TEXT = 77


def tokenizer() -> CLIPTokenizer:
    """Returns a CLIP tokenizer that has a token for each word of the prompts, and spells out any other."""
    rules = CLIPTokenizer().backend_tokenizer
    texts = [rules.normalizer.normalize_str(text) for text in (PROMPT, *HeartSize)]
    words = sorted({word for text in texts for word, _ in rules.pre_tokenizer.pre_tokenize_str(text)})
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = _merges(words)
    tokens = [_START, _END, *letters, *(letter + _AT_END for letter in letters), *map("".join, merges)]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=_LONGEST_TEXT)


def _merges(words: Sequence[str]) -> list[tuple[str, str]]:
    """Returns the pairs to merge until each word is one token, the most frequent first (Sennrich et al. 2016).

    tokenizers' own trainer breaks ties by chance.
    """
    spelled = [[*word[:-1], word[-1] + _AT_END] for word in words]
    merges = []
    while pairs := Counter(pair for word in spelled for pair in pairwise(word)):
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        spelled = [_merged(word, best) for word in spelled]
    return merges


def _merged(word: Sequence[str], pair: tuple[str, str]) -> list[str]:
    parts: list[str] = []
    for part in word:
        # What a merge made is not merged again by the same pair: "aaa" by ("a", "a") is "aa", "a".
        if parts and (parts[-1], part) == pair:
            parts[-1] += part
        else:
            parts.append(part)
    return parts


def untaught(seed: int) -> StableDiffusionPipeline:
    """Returns the pipeline with weights drawn by chance."""
    torch.manual_seed(seed)
    words = tokenizer()
    autoencoder = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * len(_AUTOENCODER),
        up_block_types=("UpDecoderBlock2D",) * len(_AUTOENCODER),
        block_out_channels=_AUTOENCODER,
        layers_per_block=1,
        latent_channels=_LATENT_CHANNELS,
        norm_num_groups=_GROUPS,
        sample_size=HEIGHT,
        mid_block_add_attention=False,
    )
    cell = 2 ** (len(_AUTOENCODER) - 1)
    unet = UNet2DConditionModel(
        sample_size=(HEIGHT // cell, WIDTH // cell),
        in_channels=_LATENT_CHANNELS,
        out_channels=_LATENT_CHANNELS,
        down_block_types=tuple(f"{kind}Block2D" for kind in _BLOCKS),
        up_block_types=tuple(f"{kind.replace('Down', 'Up')}Block2D" for kind in reversed(_BLOCKS)),
        block_out_channels=_UNET,
        layers_per_block=1,
        cross_attention_dim=_WORDS,
        attention_head_dim=8,
        norm_num_groups=_GROUPS,
    )
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=_WORDS,
            intermediate_size=4 * _WORDS,
            projection_dim=_WORDS,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=_LONGEST_TEXT,
            bos_token_id=words.bos_token_id,
            eos_token_id=words.eos_token_id,
            pad_token_id=words.pad_token_id,
        )
    )
    # Stable Diffusion's noise; DPM-Solver++ needs few steps (Lu et al. 2022), and so does the velocity.
    scheduler = DPMSolverMultistepScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        steps_offset=1,
    )
    return StableDiffusionPipeline(
        autoencoder, text_encoder, words, unet, scheduler, None, None, requires_safety_checker=False
    )
