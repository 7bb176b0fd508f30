"""One reverse diffusion step: the mean and variance of a less noisy picture given a noisier one and the clean one.

Shapes as in `diffusion`: B batch, T steps of a discrete schedule; pictures [..., C, H, W].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pinxit.functional.diffusion import Level, cumulative, sigma_of_abar


def posterior_mean(x: Tensor, x0: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """Mean of the less noisy picture given the noisier one and the clean one, all in the sigma scale.

    DDPM (arXiv 2006.11239), eq. 7, divided by sqrt(abar_next). Exactly x0 where sigma_next is 0.
    """
    kept = (sigma_next / sigma) ** 2
    return kept * x + (1 - kept) * x0


def posterior_variances(sigma: float, sigma_next: float) -> tuple[float, float]:
    """The least and the greatest variance of a reverse step, in the sigma scale: the posterior's, beta / abar_next.

    They are optimal for data that are one point and for data that are unit noise (arXiv 2006.11239, section 3.2).
    """
    added = (sigma - sigma_next) * (sigma + sigma_next)
    return (sigma_next / sigma) ** 2 * added, added * ((1 + sigma_next**2) / (1 + sigma**2))


@dataclass(frozen=True)
class ScheduleCoefficients:
    """The coefficients of a discrete variance-preserving schedule at each of its T steps; every field float64 [T]."""

    beta: Tensor
    abar: Tensor
    sigma: Tensor
    from_x0: Tensor  # the posterior mean is from_x0 * x0 + from_xt * x_t (arXiv 2006.11239, eq. 7)
    from_xt: Tensor
    log_variance: Tensor  # of the posterior; that of step 0, which is -inf, replaced by step 1's (arXiv 2102.09672)

    @staticmethod
    def of(beta: Tensor) -> ScheduleCoefficients:
        """Every quantity from the betas, [T]; T at least 2."""
        assert len(beta) > 1, "step 0 borrows its variance from step 1"
        beta = beta.double()
        abar = cumulative(beta)
        before = torch.cat([abar.new_ones(1), abar[:-1]])
        variance = beta * (1 - before) / (1 - abar)
        variance[0] = variance[1]
        from_xt = (1 - beta).sqrt() * (1 - before) / (1 - abar)
        return ScheduleCoefficients(
            beta, abar, sigma_of_abar(abar), before.sqrt() * beta / (1 - abar), from_xt, variance.log()
        )

    def posterior_mean(self, x0: Tensor, x_t: Tensor, t_B: Tensor) -> Tensor:
        """Mean of x_{t-1} given x0 and x_t, all in the variance-preserving scale; t_B int64 [B]."""
        return extract(self.from_x0, t_B, x0) * x0 + extract(self.from_xt, t_B, x0) * x_t

    def learned_log_variance(self, fraction: Tensor, t_B: Tensor) -> Tensor:
        """Log variance of x_{t-1} from the network's `fraction`, shaped like x: -1 is the posterior's, 1 is ln beta.

        Improved DDPM (arXiv 2102.09672), eq. 15, as ADM scales it.
        """
        return interpolate(fraction, extract(self.log_variance, t_B, fraction), extract(self.beta.log(), t_B, fraction))


def interpolate(fraction: Tensor, low: Level, high: Level) -> Tensor:
    """`low` where fraction is -1, `high` where it is 1, linear in between."""
    share = (fraction + 1) / 2
    return share * high + (1 - share) * low


def extract(values_T: Tensor, t_B: Tensor, like: Tensor) -> Tensor:
    """values_T[t_B] of `like`'s dtype and device, shaped to broadcast against it: [B, 1, 1, 1]."""
    picked = values_T.to(t_B.device)[t_B].to(like.device, like.dtype)
    return picked.reshape(picked.shape + (1,) * (like.ndim - picked.ndim))
