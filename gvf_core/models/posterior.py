"""The Gaussian distribution that an encoder gives for its latents."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Posterior:
    """A diagonal Gaussian distribution.

    Attributes:
        mean: Its mean, what inference uses.
        logvar: Logarithm of its variance.
    """

    mean: Float[Tensor, "*batch channels"]
    logvar: Float[Tensor, "*batch channels"]

    def sample(self, generator: torch.Generator | None = None) -> Float[Tensor, "*batch channels"]:
        """A random latent, through which gradients reach mean and variance."""
        # Drawn where the generator is, so that a seed gives the same latents on every device.
        device = generator.device if generator else self.mean.device
        noise = torch.randn(self.mean.shape, generator=generator, device=device).to(self.mean)
        return self.mean + (0.5 * self.logvar).exp() * noise

    def kl_divergence(self) -> Float[Tensor, "*batch channels"]:
        """Divergence from the standard normal distribution, channel by channel: (mean^2 + var - 1 - logvar) / 2."""
        return 0.5 * (self.mean.square() + self.logvar.exp() - 1 - self.logvar)
