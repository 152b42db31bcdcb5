"""Two ways to draw settings, and the loop that lets both go on side by side."""

import random

from .trial import Trial

GENERATION = 16  # trials of each search that are compiled and checked together
PARENTS = 8      # the best trials so far, of which new ones are bred


class Search:
    """Draws every setting at random, no settings twice. The seed says what is drawn."""

    def __init__(self, name, space, seed):
        self.name = name
        self.space = space
        self.random = random.Random(f"{name} {seed}")
        self.drawn = set()
        self.trials = []

    def counted(self):
        return sum(trial.counts() for trial in self.trials)

    def best(self):
        """The right ones, fastest first."""
        return sorted((trial for trial in self.trials if trial.verdict == "right"), key=Trial.time_us)

    def propose(self, wanted):
        """Up to so many, fewer where the space is used up."""
        proposals = []
        for _ in range(1000 * wanted):
            if len(proposals) == wanted:
                break
            settings = self.draw()
            if settings not in self.drawn:
                self.drawn.add(settings)
                proposals.append(Trial(self.name, settings))
        return proposals

    def draw(self):
        return self.space.any(self.random)

    def mark_same_code(self):
        """Of the trials whose machine code the search has had before."""
        seen = {}
        for i, trial in enumerate(self.trials):
            first = seen.setdefault(trial.digest, i)
            if trial.digest is not None and first != i:
                trial.verdict, trial.notes["same_as"] = "same code", first


class Evolution(Search):
    """After a first generation at random: each setting from one of two parents, which are among the best so
    far, and about one of them anew."""

    def draw(self):
        parents = self.best()[:PARENTS]
        if len(self.trials) < GENERATION or len(parents) < 2:
            return super().draw()
        mother, father = self.random.sample(parents, 2)
        child = [self.random.choice(pair) for pair in zip(mother.settings, father.settings)]
        for i, knob in enumerate(self.space.knobs):
            if self.random.random() < 1 / len(child):
                child[i] = self.random.choice(knob.settings)
        return tuple(child)


def run_searches(searches, budget, evaluate):
    """Lets all go on until each has so many trials that count; `evaluate` takes the next trials of all."""
    while True:
        batch = []
        for search in searches:
            trials = search.propose(min(GENERATION, budget - search.counted()))
            search.trials += trials
            batch.append(trials)
        if not any(batch):
            return
        # In turn, so that a chip that warms up is the same to all.
        longest = max(map(len, batch))
        evaluate([trials[i] for i in range(longest) for trials in batch if i < len(trials)])
