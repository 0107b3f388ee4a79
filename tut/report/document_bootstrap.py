"""Where the difference between an arm and its baseline would lie on other test documents: bootstrap intervals.

Both functions take a difference summed over the tokens of each document, and resample whole documents: tokens of one
document are alike, so a document counts as one draw, however long it is (Davison & Hinkley, 1997, section 3.8).
"""

import numpy as np

from tut.report.statistics import ALPHA, Floats, Interval

_RESAMPLES = 2_000
_VALUES_AT_ONCE = 4_000_000  # 32 MB of them


def clustered_bootstrap(sums: Floats, counts: Floats, confidence: float = 1 - ALPHA) -> Interval | None:
    """Return the percentile interval of the mean difference per token when documents are resampled.

    It tells of evaluation noise only: how the difference between these very models would vary with the test documents.
    How it would vary with the seed is not in it. With fewer than some thirty documents it is too narrow.

    Args:
        sums: differences summed over each document's tokens, (documents,).
        counts: tokens of each document, (documents,). Documents without any are left out.
        confidence: level of the interval.

    Returns:
        None if fewer than 2 documents have tokens.
    """
    from scipy import stats

    has_tokens = counts > 0
    sums, counts = sums[has_tokens], counts[has_tokens]
    if len(counts) < 2:
        return None

    def per_token(sums: Floats, counts: Floats, axis: int) -> Floats:
        return np.asarray(sums.sum(axis=axis) / counts.sum(axis=axis))

    result = stats.bootstrap(
        (sums, counts),
        per_token,
        paired=True,  # a document's sum and its count are drawn together
        vectorized=True,
        method="percentile",
        confidence_level=confidence,
        n_resamples=_RESAMPLES,
        batch=_resamples_at_once(len(counts)),
        rng=np.random.default_rng(0),
    )
    low, high = result.confidence_interval
    return float(low), float(high)


def two_level_bootstrap(sums: Floats, counts: Floats, confidence: float = 1 - ALPHA) -> Interval | None:
    """Return the interval of the mean difference per token when both seeds and documents are resampled.

    Every seed is scored on every document, so seeds and documents are drawn independently and crossed: the pigeonhole
    bootstrap (Owen, 2007). It errs on the safe side: noise of single seeds on single documents counts about three
    times. Percentiles of a few seeds would cover far less than they claim, so the interval is that of a t with the
    bootstrap's standard error and Satterthwaite's (1946) degrees of freedom.

    Args:
        sums: differences summed over each document's tokens, (seeds, documents).
        counts: tokens of each document, (documents,). Documents without any are left out.
        confidence: level of the interval.

    Returns:
        None if there are fewer than 2 seeds, or fewer than 2 documents with tokens.
    """
    from scipy import stats

    has_tokens = counts > 0
    sums, counts = sums[:, has_tokens], counts[has_tokens]
    n_seeds, n_documents = sums.shape
    if n_seeds < 2 or n_documents < 2:
        return None
    means_of_seeds = sums.sum(axis=1) / counts.sum()
    mean = float(means_of_seeds.mean())
    variance = float(_two_level_means(sums, counts).var(ddof=1))
    if variance == 0:
        return mean, mean
    # Satterthwaite: of the variance, one share is the seeds' own, known with n_seeds - 1 degrees of freedom; the rest
    # is taken to be the documents', known with n_documents - 1. Their sum is known as well as a variance with
    # 1 / sum(share**2 / freedom) degrees of freedom is.
    share_of_seeds = min(1.0, float(means_of_seeds.var(ddof=1)) / n_seeds / variance)
    share_of_documents = 1 - share_of_seeds
    freedom = 1 / (share_of_seeds**2 / (n_seeds - 1) + share_of_documents**2 / (n_documents - 1))
    half_width = float(stats.t.ppf((1 + confidence) / 2, freedom)) * variance**0.5
    return mean - half_width, mean + half_width


def _two_level_means(sums: Floats, counts: Floats) -> Floats:
    """Return the mean difference per token in each resample of seeds crossed with documents, (resamples,).

    One less is drawn than there are, of seeds and of documents, which makes their variances unbiased (Rao & Wu, 1988).
    """
    n_seeds, n_documents = sums.shape
    random = np.random.default_rng(0)
    at_once = _resamples_at_once(n_documents)
    n_parts = -(-_RESAMPLES // at_once)  # rounded up
    parts = []
    for part in np.array_split(np.arange(_RESAMPLES), n_parts):
        # How often each seed and each document is drawn, (resamples, seeds) and (resamples, documents): drawing with
        # replacement, and then counting, is one multinomial draw.
        seed_draws = random.multinomial(n_seeds - 1, np.full(n_seeds, 1 / n_seeds), size=len(part))
        document_draws = random.multinomial(n_documents - 1, np.full(n_documents, 1 / n_documents), size=len(part))
        sums_over_seeds = (seed_draws / (n_seeds - 1)) @ sums
        parts.append((sums_over_seeds * document_draws).sum(axis=1) / (document_draws @ counts))
    return np.concatenate(parts)


def _resamples_at_once(values: int) -> int:
    """Return how many resamples of this many values to hold in memory at a time."""
    return max(1, _VALUES_AT_ONCE // values)
