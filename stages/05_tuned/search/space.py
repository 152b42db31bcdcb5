"""A space of programs: a kernel source, and what may stand in its places."""

import dataclasses
import itertools
import re


class BadInput(Exception):
    """One line for the user, exit code 2."""


@dataclasses.dataclass(frozen=True)
class Knob:
    """A choice that the source makes. Each setting is a list of (what stands there, what shall stand there), exact
    text that the source has once; that of the first setting, the source as it is, is empty. A setting must change device
    code: programs that differ in how they launch it alone count as one."""
    name: str
    settings: dict


@dataclasses.dataclass(frozen=True)
class Space:
    stage: str
    source: str     # in the stage's folder
    variant: str    # what a trial runs
    leave_out: list  # (pattern, text), regular expressions: of the rest of the source, what is left out to compile faster
    shape: str      # the problem that is timed, as options of the stage's program
    checked: list   # problems on which a trial is held against the reference before it is timed
    knobs: list

    def as_it_is(self):
        return tuple(next(iter(knob.settings)) for knob in self.knobs)

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
        return tuple(chosen.get(knob.name, next(iter(knob.settings))) for knob in self.knobs)

    def settings_in_words(self, words):
        """Those of "knob: setting; ..."."""
        parts = [part.strip().split(": ", 1) for part in words.split(";")]
        if any(len(part) != 2 for part in parts):
            raise BadInput(f"'{words}' are no settings; write \"knob: setting; ...\"")
        return self.settings(dict(parts))

    def any(self, random):
        return tuple(random.choice(list(knob.settings)) for knob in self.knobs)

    def neighbours(self):
        """The source with one knob set otherwise, for every setting."""
        source = self.as_it_is()
        for i, knob in enumerate(self.knobs):
            for setting in list(knob.settings)[1:]:
                yield source[:i] + (setting,) + source[i + 1:]

    def program(self, source_text, settings):
        """The source with these settings."""
        text = source_text
        for pattern, replacement in self.leave_out:
            text, count = re.subn(pattern, replacement, text)
            if not count:
                raise BadInput(f"{self.source} has nothing like '{pattern}' any more")
        for knob, setting in zip(self.knobs, settings):
            for old, new in knob.settings[setting]:
                if text.count(old) != 1:
                    raise BadInput(f"{self.source} has {text.count(old)} places for '{knob.name}: {setting}', which must "
                                   f"have one, of: {old.strip().splitlines()[0]}")
                text = text.replace(old, new)
        return text

    def check(self, source_text):
        """Raises BadInput where settings of two knobs do not go together, or one is not in the source."""
        source = self.as_it_is()
        for a, b in itertools.combinations(range(len(self.knobs)), 2):
            for first in self.knobs[a].settings:
                for second in self.knobs[b].settings:
                    settings = list(source)
                    settings[a], settings[b] = first, second
                    self.program(source_text, settings)
