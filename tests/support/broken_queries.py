"""What `broken_specs.SoundQuery` builds: a sound query, and others with one fault each."""

from __future__ import annotations

import numpy as np

from cryoreg.contracts import Query


class Ask(Query):
    """Rows at random."""

    def choose(self, pool, count, rng):
        return rng.permutation(pool.unlabelled)[:count]


class AskWithoutContract:
    def choose(self, pool, count, rng):
        return rng.permutation(pool.unlabelled)[:count]


class AskForOneMore(Ask):
    def choose(self, pool, count, rng):
        return super().choose(pool, count + 1, rng)


class AskTwice(Ask):
    def choose(self, pool, count, rng):
        chosen = super().choose(pool, count, rng)
        return chosen if count >= len(pool.unlabelled) or count < 2 else np.concatenate([chosen[:1], chosen[:-1]])


class AskInPart(Ask):
    def choose(self, pool, count, rng):
        left = len(pool.unlabelled)
        return super().choose(pool, min(count, left - 1) if count > left > 0 else count, rng)


class AskThatWrites(Ask):
    def choose(self, pool, count, rng):
        chosen = super().choose(pool, count, rng)
        pool.labels[chosen] = 0
        return chosen


class AskByChance(Ask):
    def choose(self, pool, count, rng):
        return super().choose(pool, count, np.random.default_rng())


class AskOnlyWithLabels(Ask):
    def choose(self, pool, count, rng):
        return super().choose(pool, count if len(pool.labelled) else 0, rng)
