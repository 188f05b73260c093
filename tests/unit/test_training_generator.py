"""The small base model learns from phantoms, and is asked as Stable Diffusion is."""

import tempfile

import pytest
import torch
from diffusers import DDPMScheduler
from transformers import CLIPTokenizer

from canicor.errors import FailedPrecondition, ResourceExhausted
from canicor.pipeline import prompts
from canicor.pipeline_repository import Pipelines
from canicor.store import file_url
from canicor.text_to_image import mixed
from tests.unit.test_pipeline import info
from training.generator import base
from training.generator.base_fitting import BaseRecipe, Fitting, draw, teach
from training.generator.denoising import Denoising
from training.generator.pushing import card, push


def silent(*_: object) -> None: ...


def scheduler(asked: str) -> DDPMScheduler:
    return DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type=asked)


def test_the_words_of_the_prompts_are_tokens_and_all_else_is_spelled_out(tmp_path):
    words = base.tokenizer()
    words.save_pretrained(tmp_path)
    for one in (words, CLIPTokenizer.from_pretrained(tmp_path)):
        assert len(one) > 500
        told = one.tokenize("photo of Large Cardiovascular Thoracic radiograph x-ray, vertebral heart size 8.5")
        assert [token.removesuffix("</w>") for token in told] == [
            *("photo", "of", "large", "cardiovascular", "thoracic", "radiograph", "x", "-", "ray", ","),
            *("vertebral", "heart", "size", "8", ".", "5"),
        ]
        assert one.unk_token_id not in one("gaußian?", add_special_tokens=False).input_ids


@pytest.mark.parametrize("asked", ["epsilon", "v_prediction"])
def test_who_knows_the_noise_loses_nothing(asked):
    latents = torch.randn(64, 4, 2, 2)

    def knowing(noisy: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        kept = scheduler(asked).alphas_cumprod[steps].reshape(-1, 1, 1, 1)
        noise = (noisy - kept.sqrt() * latents) / (1 - kept).sqrt()
        return noise if asked == "epsilon" else kept.sqrt() * noise - (1 - kept).sqrt() * latents

    losses = Denoising(scheduler(asked)).losses(knowing, latents, torch.Generator().manual_seed(0))
    assert losses.shape == (64,)
    assert losses.max() < 1e-6


def test_timesteps_with_little_noise_are_capped_alike_for_noise_and_velocity():
    """An error of the latent weighs min(SNR, gamma), whichever of the two is asked for (Hang et al. 2023)."""
    latents, error = torch.zeros(256, 1, 1, 1), 0.1

    def off_by(asked: str) -> torch.Tensor:
        def denoiser(noisy: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
            kept = scheduler(asked).alphas_cumprod[steps].reshape(-1, 1, 1, 1)
            wrong = torch.full_like(noisy, error)
            noise = (noisy - kept.sqrt() * wrong) / (1 - kept).sqrt()
            return noise if asked == "epsilon" else kept.sqrt() * noise - (1 - kept).sqrt() * wrong

        return Denoising(scheduler(asked), snr_gamma=5.0).losses(
            denoiser, latents, torch.Generator().manual_seed(0)
        )

    noise, velocity = off_by("epsilon"), off_by("v_prediction")
    torch.testing.assert_close(noise, velocity, rtol=1e-3, atol=1e-6)
    assert noise.max().item() == pytest.approx(5.0 * error**2, rel=1e-3)


def test_a_pipeline_that_asks_for_anything_else_is_refused():
    with pytest.raises(FailedPrecondition, match="asks for sample"):
        Denoising(scheduler("sample")).losses(lambda noisy, _: noisy, torch.zeros(1, 1, 1, 1), torch.Generator())


def test_the_embedding_of_a_size_lies_between_those_of_its_neighbours():
    pipeline = base.untaught(0)
    with torch.no_grad():
        asked = [prompts(base.PROMPT, vhs=vhs) for vhs in (8.5, 8.6, 9.0)]
        below, between, above = mixed(pipeline, asked)["prompt_embeds"]
    torch.testing.assert_close(between, 0.8 * below + 0.2 * above)
    assert (above - below).abs().max() > 0.01


def test_the_same_seed_teaches_the_same_and_better_than_nothing():
    phantoms = draw(16, 0, silent)
    assert phantoms.digest == draw(16, 0, silent).digest
    recipe = BaseRecipe(16, Fitting(2, 1e-3), Fitting(1, 1e-3), batch_size=4)
    first, second = (teach(phantoms, recipe, 0, silent) for _ in range(2))
    for name in ("vae", "unet", "text_encoder"):
        pairs = zip(getattr(first, name).parameters(), getattr(second, name).parameters(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)
    pixels = torch.from_numpy(phantoms.pixels)[:8, None].float() / 127.5 - 1

    def error(autoencoder: torch.nn.Module) -> float:
        with torch.no_grad():
            latents = autoencoder.encode(pixels).latent_dist.mean
            return (autoencoder.decode(latents).sample - pixels).abs().mean().item()

    assert error(first.vae) < 0.9 * error(base.untaught(0).vae)


def test_a_disk_that_can_not_be_written_is_a_sentence_and_leaves_no_version(tmp_path, monkeypatch):
    pipelines, about = Pipelines(file_url(tmp_path / "store"), tmp_path / "cache"), info()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(ResourceExhausted, match="can't be written") as refusal:
        push(pipelines, "small", base.untaught(0), about, card("small", about, 3))
    assert refusal.value.reason == "NO_SPACE"
    assert pipelines.versions("small") == []
