#!/usr/bin/env python3
"""evidence_reference.py - compares the statistics of scripts/evidence with scipy's.

    evidence_reference.py SCRIPT

rho and the interval to 1e-12: the same sums in another order. scipy draws its resamples by the same generator.
"""
import importlib.machinery
import importlib.util
import sys

import numpy as np
from scipy import stats

sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader("evidence", sys.argv[1])
evidence = importlib.util.module_from_spec(importlib.util.spec_from_loader("evidence", loader))
loader.exec_module(evidence)
rng = np.random.default_rng(7)


def near(what, found, expected):
    if not np.allclose(found, expected, rtol=0, atol=1e-12):
        sys.exit(f"{what}: found {found}, expected {expected}")


for n in (5, 12, 40):
    x, y = rng.standard_normal(n), rng.integers(0, 6, n)  # with ties
    near("ranks", evidence.ranks(y), stats.rankdata(y))
    near("rho", evidence.spearman(x, y), stats.spearmanr(x, y)[0])
x = rng.standard_normal(12)
y = x + rng.standard_normal(12)
interval = stats.bootstrap((x, y), lambda a, b: stats.spearmanr(a, b)[0], paired=True, vectorized=False, n_resamples=999,
                           method="percentile", random_state=np.random.default_rng(5)).confidence_interval
near("interval", evidence.bootstrap(x, y, 999, 5), interval)
for right, total in ((0, 10), (7, 10), (50, 50)):
    expected = stats.binomtest(right, total).proportion_ci(0.95, "wilson")
    near("Wilson's interval", np.round(evidence.wilson(right, total), 6), np.round(expected, 6))
