"""What a text-to-image model is fitted on: to say what in a noisy latent is noise."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr
from torch import Generator, Tensor
from torch.nn import functional as F

from canicor.errors import FailedPrecondition

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""Noisy latents [N, ...] and their timesteps, int64 [N] -> what it says of the noise, as the latents' shape."""


@dataclass(frozen=True)
class Denoising:
    """The task and its loss.

    Attributes:
        scheduler: How latents get noisy (Ho et al. 2020), and whether the noise or the velocity is asked for
            (Salimans & Ho 2022).
        snr_gamma: Caps the weight of timesteps with little noise (min-SNR, Hang et al. 2023: 5); None weighs all
            alike.
    """

    scheduler: DDPMScheduler
    snr_gamma: float | None = None

    def losses(self, denoiser: Denoiser, latents: Tensor, generator: Generator) -> Tensor:
        """Returns the loss of each image, float32 [N].

        Args:
            denoiser: What is fitted.
            latents: [N, channels, rows, columns], scaled.
            generator: Of noise and timesteps, on the CPU: the same draws on any device.

        Raises:
            FailedPrecondition: The scheduler asks for something else than noise or velocity.
        """
        steps = torch.randint(self.scheduler.config.num_train_timesteps, (len(latents),), generator=generator)
        noise, steps = (one.to(latents.device) for one in (torch.randn(latents.shape, generator=generator), steps))
        noisy = self.scheduler.add_noise(latents, noise, steps)
        asked = self.scheduler.config.prediction_type
        if asked == "epsilon":
            wanted = noise
        elif asked == "v_prediction":
            wanted = self.scheduler.get_velocity(latents, noise, steps)
        else:
            raise FailedPrecondition(
                f"The pipeline's scheduler asks for {asked}: epsilon and v_prediction can be fitted.",
                reason="PREDICTION_TYPE",
            )
        errors = F.mse_loss(denoiser(noisy, steps).float(), wanted, reduction="none").flatten(1).mean(1)
        return errors if self.snr_gamma is None else errors * self._weights(steps, asked)

    def _weights(self, steps: Tensor, asked: str) -> Tensor:
        snr = compute_snr(self.scheduler, steps)
        capped = snr.clamp(max=self.snr_gamma)
        # In units of the latent's own error, which is what the paper weighs: an error of the noise is the smaller
        # by SNR, one of the velocity by SNR + 1.
        weights: Tensor = capped / (snr if asked == "epsilon" else snr + 1.0)
        return weights
