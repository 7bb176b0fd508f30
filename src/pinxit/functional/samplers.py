"""Samplers: from noise to picture in few evaluations of a denoiser. One algorithm, one function.

A sampler is a coroutine. It yields a `Query` (denoise this x at this sigma) and is sent a `Denoised`; in the end it
returns the picture. So one function serves a batch that runs alone (`drive`) and one picture of a worker that batches
the queries of many; guidance and thresholding happen outside, where a query is answered.

Everything is in the sigma scale, x = x0 + sigma n, where the probability-flow equation is dx/dsigma = (x - x0) / sigma
(arXiv 2206.00364, eq. 1 and 3). The formulas of variance-preserving papers are theirs divided by sqrt(abar).
`sigmas` descends to 0 or above (for inversion alone it ascends); a step to 0 gives the predicted x0 itself. `noise()`
returns a fresh standard normal tensor of x's shape; a sampler calls it only for noise that it adds. x, of any shape,
should be float32.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from pinxit.errors import UsageError
from pinxit.functional.posterior import interpolate, posterior_mean, posterior_variances


@dataclass(frozen=True, slots=True)
class Query:
    """A sampler's next question: which clean picture is behind x?"""

    x: Tensor  # in the sigma scale
    sigma: float


@dataclass(frozen=True, slots=True)
class Denoised:
    """The answer to a `Query`."""

    x0: Tensor  # of x's shape
    fraction: Tensor | None = None  # learned range in [-1, 1], like x0; None: fixed variance


Sampler = Generator[Query, Denoised, Tensor]  # returns the final x
Noise = Callable[[], Tensor]


def drive(sampler: Sampler, denoise: Callable[[Tensor, float], Denoised]) -> Tensor:
    """Run a sampler alone, answering each query with `denoise(x, sigma)`; its final x."""
    try:
        query = next(sampler)
        while True:
            query = sampler.send(denoise(query.x, query.sigma))
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


def ancestral(x: Tensor, sigmas: Sequence[float], noise: Noise, gamma: float = 0.0) -> Sampler:
    """DDPM's ancestral sampling (arXiv 2006.11239, algorithm 2).

    The log variance of each step lies between the posterior's (gamma 0) and beta's (gamma 1), as in Imagen
    (arXiv 2205.11487), or where the denoiser's learned `fraction` says (arXiv 2102.09672, eq. 15).
    """
    for sigma, following in _steps(sigmas):
        denoised = yield Query(x, sigma)
        x = posterior_mean(x, denoised.x0, sigma, following)
        if following > 0:
            low, high = (math.log(variance) for variance in posterior_variances(sigma, following))
            if denoised.fraction is None:
                x = x + math.exp((gamma * high + (1 - gamma) * low) / 2) * noise()
            else:
                x = x + (interpolate(denoised.fraction, low, high) / 2).exp() * noise()
    return x


def ddim(x: Tensor, sigmas: Sequence[float], noise: Noise, eta: float = 0.0) -> Sampler:
    """DDIM (arXiv 2010.02502), eq. 12 and 16: eta 0 is deterministic, 1 is ancestral with the posterior's variance.

    The noise that it keeps is x less the answered x0: where x0 was thresholded, the noise changes with it.
    """
    for sigma, following in _steps(sigmas):
        denoised = yield Query(x, sigma)
        variance = eta**2 * posterior_variances(sigma, following)[0]
        kept = math.sqrt(max(following**2 - variance, 0.0)) / sigma
        x = kept * x + (1 - kept) * denoised.x0
        if variance > 0:
            x = x + math.sqrt(variance) * noise()
    return x


def ddim_inversion(x: Tensor, sigmas: Sequence[float], noise: Noise, refine: int = 0) -> Sampler:
    """The noise from which deterministic DDIM would have made the picture x; `sigmas` ascend, from 0 or above.

    Each step takes the noise predicted where it starts (where it ends, if it starts at 0) as constant throughout, as
    unCLIP does (arXiv 2204.06125, section 3). `refine` more evaluations a step are a fixed-point iteration for the x
    from which DDIM's own step leads back exactly; it converges where predictions change little with x.
    """
    for sigma, following in itertools.pairwise(sigmas):
        assert 0 <= sigma < following, "sigmas ascend"
        here = sigma or following
        denoised = yield Query(x, here)
        noisier = x + (following - sigma) / here * (x - denoised.x0)
        for _ in range(refine):
            denoised = yield Query(noisier, following)
            noisier = x + (following - sigma) / following * (noisier - denoised.x0)
        x = noisier
    return x


def euler(x: Tensor, sigmas: Sequence[float], noise: Noise) -> Sampler:
    """Euler's method on the probability-flow equation; in the sigma scale the same as deterministic DDIM."""
    for sigma, following in _steps(sigmas):
        denoised = yield Query(x, sigma)
        x = _towards(x, denoised.x0, following / sigma)
    return x


def heun(x: Tensor, sigmas: Sequence[float], noise: Noise) -> Sampler:
    """EDM's deterministic sampler (arXiv 2206.00364, algorithm 1): Euler, then its correction unless the step is to 0.

    Second order in sigma itself, so it suits steps of a modest ratio such as `karras_sigmas`. On a few even steps of
    the cosine schedule, whose first sigma is a thousand times the second, it is worse than Euler.
    """
    return (yield from edm(x, sigmas, noise, churn=0.0))


def edm(
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    churn: float = 40.0,
    s_min: float = 0.05,
    s_max: float = 50.0,
    s_noise: float = 1.003,
) -> Sampler:
    """EDM's stochastic sampler (arXiv 2206.00364, algorithm 2): noise added before each step, then Heun's method.

    S_churn, S_min, S_max and S_noise as in the paper; the defaults are its ImageNet-64 setting of 256 steps (table 5).
    """
    gamma = min(churn / (len(sigmas) - 1), math.sqrt(2) - 1)
    for sigma, following in _steps(sigmas):
        if gamma > 0 and s_min <= sigma <= s_max:
            higher = sigma * (1 + gamma)
            x = x + s_noise * math.sqrt(higher**2 - sigma**2) * noise()
            sigma = higher
        denoised = yield Query(x, sigma)
        ahead = _towards(x, denoised.x0, following / sigma)
        if following > 0:
            # The trapezoidal correction in terms of x0: x itself cancels, but in float32 a large x would not exactly.
            then = yield Query(ahead, following)
            ahead = ahead + (sigma / following - 1) / 2 * (then.x0 - denoised.x0)
        x = ahead
    return x


def dpm_2m(x: Tensor, sigmas: Sequence[float], noise: Noise) -> Sampler:
    """DPM-Solver++(2M) (arXiv 2211.01095), algorithm 2: second order from one evaluation a step and the one before."""
    return (yield from dpm_2m_sde(x, sigmas, noise, eta=0.0))


def dpm_2m_sde(x: Tensor, sigmas: Sequence[float], noise: Noise, eta: float = 1.0) -> Sampler:
    """SDE-DPM-Solver++(2M) (arXiv 2211.01095, midpoint form); eta scales the fresh noise, 0 is `dpm_2m`.

    First order on the first step and on a step to 0, where the step in log-SNR is infinite.
    """
    before: Tensor | None = None
    h_before = 0.0
    for sigma, following in _steps(sigmas):
        denoised = yield Query(x, sigma)
        h = math.log(sigma / following) if following > 0 else math.inf
        ahead = denoised.x0
        if before is not None and following > 0:
            ahead = ahead + h / (2 * h_before) * (ahead - before)
        x = _towards(x, ahead, (following / sigma) ** (1 + eta))
        if eta > 0 and following > 0:
            x = x + following * math.sqrt(-math.expm1(-2 * eta * h)) * noise()
        before, h_before = denoised.x0, h
    return x


def _towards(x: Tensor, x0: Tensor, kept: float) -> Tensor:
    return kept * x + (1 - kept) * x0


def _steps(sigmas: Sequence[float]) -> Iterator[tuple[float, float]]:
    """(sigma, the following sigma) of every step down."""
    assert len(sigmas) > 1 and sigmas[-1] >= 0, "sigmas are at least two and end with 0 or above"
    for sigma, following in itertools.pairwise(sigmas):
        assert sigma > following, "sigmas descend"
        yield sigma, following


@dataclass(frozen=True)
class SamplingMethod:
    """A sampler, its options, and what it costs."""

    run: Callable[..., Sampler]  # (x, sigmas, noise, **options)
    per_step: int = 1  # evaluations of the denoiser
    random: bool = False  # whether it adds noise while sampling
    ascends: bool = False  # whether it goes from a picture to its noise (inversion)
    options: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # by name, least and greatest value
    whole: frozenset[str] = frozenset()  # options that are whole numbers

    def evaluations(self, steps: int, to_zero: bool = True, options: Mapping[str, float] | None = None) -> int:
        """Evaluations of the denoiser in `steps` steps; a last step to 0 takes one, as it is not corrected."""
        per_step = self.per_step + int((options or {}).get("refine", 0))
        return per_step * steps if self.ascends or not to_zero else per_step * (steps - 1) + 1

    def check(self, sigmas: Sequence[float], options: Mapping[str, float]) -> None:
        """Raise UsageError for sigmas in the wrong direction, and for options that are unknown or out of range."""
        way, ordered = ("ascend", sigmas) if self.ascends else ("descend", sigmas[::-1])
        if len(sigmas) < 2 or not all(0 <= a < b < math.inf for a, b in itertools.pairwise(ordered)):
            raise UsageError(f"noise levels must {way}, none below 0, and there must be at least one step.")
        for name, value in options.items():
            if name not in self.options:
                known = ", ".join(self.options) or "none"
                raise UsageError(f"this sampler has no option '{name}'; it has {known}.")
            least, most = self.options[name]
            kinds = (int,) if name in self.whole else (int, float)
            if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
                kind = "a whole number" if name in self.whole else "a number"
                raise UsageError(f"the sampler's {name} must be {kind} from {least:g} to {most:g}, not {value}.")


UNIT, ANY = (0.0, 1.0), (0.0, math.inf)

SAMPLERS: dict[str, SamplingMethod] = {
    "ancestral": SamplingMethod(ancestral, random=True, options={"gamma": UNIT}),
    "ddim": SamplingMethod(ddim, options={"eta": UNIT}),
    "euler": SamplingMethod(euler),
    "heun": SamplingMethod(heun, per_step=2),
    "edm": SamplingMethod(
        edm, per_step=2, random=True, options=dict.fromkeys(("churn", "s_min", "s_max", "s_noise"), ANY)
    ),
    "dpm++2m": SamplingMethod(dpm_2m),
    "dpm++2m-sde": SamplingMethod(dpm_2m_sde, random=True, options={"eta": UNIT}),
    "ddim-inversion": SamplingMethod(
        ddim_inversion, ascends=True, options={"refine": (0, 1000)}, whole=frozenset({"refine"})
    ),
}
FROM_NOISE = tuple(name for name, method in SAMPLERS.items() if not method.ascends)
"""The samplers that make pictures out of noise."""


def check_from_noise(sampler: str) -> None:
    """Raise UsageError unless `sampler` is one of `FROM_NOISE`."""
    if sampler not in FROM_NOISE:
        raise UsageError(f"there is no sampler '{sampler}'; choose from {', '.join(FROM_NOISE)}.")
