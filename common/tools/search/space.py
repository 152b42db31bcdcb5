"""A space of programs: a variant, and what may stand in its places.

Each choice is a patch beside its space's module, <space>/<knob>_<setting>.patch, against the variant's source
or a header that it includes; the setting named first is the source as it is and has none.
"""

import dataclasses
import functools
import hashlib
import itertools
import pathlib
import re

from .. import cli, patches, sources
from ..errors import BadInput

FOLDER = pathlib.Path(__file__).resolve().parent

# The source of each space: what its patches are made against. After a move, `search reanchor` writes them
# anew.
TARGETS = {
    "headline": "stages/05_tuned/cluster_pdl.cu",
    "lazy_max": "stages/05_tuned/lazy_max.cu",
    "long_rows": "stages/06_long/persistent.cu",
}


@dataclasses.dataclass(frozen=True)
class Knob:
    """A choice that the source makes, and what it may choose, the source's own first. A setting must change
    device code: programs that differ in how they launch it alone count as one."""
    name: str
    settings: tuple


@dataclasses.dataclass(frozen=True)
class Space:
    name: str
    variant: str    # what a trial runs
    shape: str      # the problem that is timed, as options of the stage's program
    checked: tuple  # problems on which a trial is held against the reference before it is timed
    knobs: tuple
    folder: pathlib.Path = FOLDER  # of its patches

    @property
    def target(self):
        """The kernel source, from the root of the checkout."""
        return TARGETS[self.name]

    @property
    def stage(self):
        return self.target.split("/")[1]

    @property
    def source(self):
        return self.target.split("/")[2]

    def as_it_is(self):
        return tuple(knob.settings[0] for knob in self.knobs)

    def size(self):
        count = 1
        for knob in self.knobs:
            count *= len(knob.settings)
        return count

    def settings(self, chosen):
        """Those of {knob: setting}, the source's for all others."""
        known = {knob.name: knob.settings for knob in self.knobs}
        for name, setting in chosen.items():
            if setting not in known.get(name, []):
                raise BadInput(f"'{name}: {setting}' is no setting of {self.source}")
        return tuple(chosen.get(knob.name, knob.settings[0]) for knob in self.knobs)

    def settings_in_words(self, words):
        """Those of "knob: setting; ..."."""
        parts = [part.strip().split(": ", 1) for part in words.split(";")]
        if any(len(part) != 2 for part in parts):
            raise BadInput(f"'{words}' are no settings; write \"knob: setting; ...\"")
        return self.settings(dict(parts))

    def any(self, random):
        return tuple(random.choice(knob.settings) for knob in self.knobs)

    def neighbours(self):
        """The source with one knob set otherwise, for every setting."""
        source = self.as_it_is()
        for i, knob in enumerate(self.knobs):
            for setting in knob.settings[1:]:
                yield source[:i] + (setting,) + source[i + 1:]

    # ---- Patches and texts ----

    def patch_of(self, knob, setting):
        """The file of a setting, None for the source's own."""
        if setting == knob.settings[0]:
            return None
        return self.folder / self.name / f"{slug(knob.name)}_{slug(setting)}.patch"

    def patch_files(self):
        """(knob, setting, file) of every setting that has one."""
        return [(knob, setting, self.patch_of(knob, setting)) for knob in self.knobs
                for setting in knob.settings[1:]]

    @functools.lru_cache(maxsize=None)
    def hunks(self, knob, setting):
        path = self.patch_of(knob, setting)
        return tuple(patches.read(path)) if path else ()

    def texts(self, root=cli.ROOT):
        """What patches may change, {path from the root: text}: the source, and the headers of its folder that
        it includes."""
        source = root / self.target
        if not source.is_file():
            raise BadInput(f"the space {self.name} is of {self.target}, and there is no such file")
        return {path.relative_to(root).as_posix(): path.read_text()
                for path in (source, *sources.included(source))}

    def program(self, texts, settings):
        """The texts with these settings."""
        chosen = [hunk for knob, setting in zip(self.knobs, settings) for hunk in self.hunks(knob, setting)]
        return patches.apply(chosen, texts)

    def check(self, texts):
        """Refuses the space where a patch no longer applies, or settings of two knobs do not go together."""
        source = self.as_it_is()
        for a, b in itertools.combinations(range(len(self.knobs)), 2):
            for first in self.knobs[a].settings:
                for second in self.knobs[b].settings:
                    settings = list(source)
                    settings[a], settings[b] = first, second
                    self.program(texts, settings)

    def digest(self, texts):
        """Of all that says what its programs are."""
        settings = [(knob.name, setting, path.read_text()) for knob, setting, path in self.patch_files()]
        return hashlib.sha256(repr((sorted(texts.items()), self.shape, self.checked,
                                    settings)).encode()).hexdigest()


def slug(words):
    """As a part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")
