"""Holds what stages claim against machine code, launches and counters; README.md says how.

  evidence check [--technique NAME]     every technique that a variant declares is proven; notes what is
                                        proven and not declared
  evidence reject [--technique NAME]    every claim of counter_examples/ is rejected; each technique has one
  evidence distinct                     no two variants of a stage are one machine code launched in one way
  evidence report --update|--check      writes the tables in the stages' READMEs and the book, or says which
                                        are stale

Facts come from BUILD (build/emulated unless given with --build), whose target evidence_facts makes them.
Exit codes: 0 proven, 1 not, 2 bad input, 77 skipped: what it takes is not on this machine.
"""

import pathlib

from .. import cli, programs
from ..cli import ROOT
from ..errors import BadInput
from . import facts, ledger
from .checkers import PROOFS, Refuted, check
from .facts import Missing


def is_counter_example(stage):
    return stage.name.startswith("counter_examples")


def is_rung(stage):
    """One of the ladder's, not one of this folder or the harness's ways to call."""
    return stage.name[0].isdigit()


class Outcome:
    """Counts what was found and prints it, a line each."""

    def __init__(self):
        self.good = self.bad = 0
        self.skipped = []

    def proven(self, text):
        self.good += 1
        print(text)

    def failed(self, text):
        self.bad += 1
        print(f"FAILED {text}")

    def skip(self, text, reason):
        self.skipped.append(str(reason))
        print(f"not looked at: {text}")

    def exit_code(self):
        """What was skipped is no pass: where anything was, that is the result, unless something failed."""
        print(f"{self.good} as they should be, {self.bad} not, {len(self.skipped)} not looked at")
        if self.bad:
            return 1
        for reason in sorted(set(self.skipped)):
            print(f"skipped: {reason}")
        return 77 if self.skipped else 0


def those_of(techniques, technique):
    if technique and technique not in techniques:
        raise BadInput(f"no technique is called '{technique}'; there is {', '.join(techniques)}")
    return [technique] if technique else techniques


def nobody(outcome, stages, text):
    """Nobody claims a technique: a failure, unless the harness may, which is not known without nvcc."""
    if "harness" in stages:
        outcome.failed(text)
    else:
        outcome.skip(text, facts.NO_NVCC)


def check_claims(stages, techniques, only):
    outcome = Outcome()
    for technique in those_of(techniques, only):
        if technique not in PROOFS:
            outcome.failed(f"{technique}: it has no checker")
            continue
        for stage in stages.values():
            if is_counter_example(stage):
                continue
            for variant in stage.variants:
                declared = technique in variant.techniques
                try:
                    quote = check(technique, variant)
                    if declared:
                        outcome.proven(f"{technique}: {variant}: {quote}")
                    elif is_rung(stage):
                        print(f"note: {technique}: {variant} does not declare it: {quote}")
                except Refuted as reason:
                    if declared:
                        outcome.failed(f"{technique}: {variant} declares it: {reason}")
                except Missing as reason:
                    if declared:
                        outcome.skip(f"{technique}: {variant}", reason)
        claimed = any(technique in variant.techniques for stage in stages.values()
                      if not is_counter_example(stage)
                      for variant in stage.variants)
        if not claimed:
            nobody(outcome, stages,
                   f"{technique}: neither a stage nor examples/ has it: can it be proven at all?")
    unknown = set(PROOFS) - set(techniques)
    if unknown:
        outcome.failed(f"checkers of unknown techniques: {', '.join(sorted(unknown))}")
    return outcome.exit_code()


def reject_claims(stages, techniques, only):
    outcome = Outcome()
    variants = [variant for stage in stages.values() if is_counter_example(stage)
                for variant in stage.variants]
    for technique in those_of(techniques, only):
        claims = [variant for variant in variants if technique in variant.techniques]
        if not claims:
            nobody(outcome, stages, f"{technique}: no counter-example claims it")
        for variant in claims:
            try:
                outcome.failed(f"{technique}: {variant} was believed: {check(technique, variant)}")
            except Refuted as reason:
                outcome.proven(f"{technique}: {variant} is rejected: {reason}")
            except Missing as reason:
                outcome.skip(f"{technique}: {variant}", reason)
    return outcome.exit_code()


def twins(stage):
    """Pairs of variants that are one."""
    seen = {}
    for variant in stage.variants:
        variant.calls()
        first = seen.setdefault(variant.fingerprint(), variant)
        if first is not variant:
            yield first, variant


def check_distinct(stages):
    outcome = Outcome()
    try:
        for stage in stages.values():
            if not is_rung(stage):
                continue
            pairs = list(twins(stage))
            for first, second in pairs:
                outcome.failed(f"{second} is the machine code of {first}, launched in the same way")
            if not pairs:
                outcome.proven(f"{stage.name}: {len(stage.variants)} variants, all different")
        found = [(a.name, b.name) for a, b in twins(stages["counter_examples"])]
        if found == [("twin", "other_twin")]:
            outcome.proven("counter_examples: one kernel under two names is found, the same launched "
                           "otherwise is not")
        else:
            outcome.failed(f"counter_examples: found {found or 'nothing'} where twin and other_twin are one")
    except Missing as reason:
        outcome.skip("machine code", reason)
    return outcome.exit_code()


def report(stages, techniques, build, update):
    stages = {name: stage for name, stage in stages.items() if is_rung(stage) or name == "harness"}
    tools = programs.tools(build)
    try:
        if not tools["nvcc"]:
            raise Missing(facts.NO_NVCC)
        written = ledger.tools_of_tables(ROOT)
        if not update and written and written != {(tools["nvcc"], tools["compiler"])}:
            nvcc, compiler = sorted(written)[0]
            raise Missing(f"the tables were written with {nvcc} and {compiler}, this is {tools['nvcc']} and "
                          f"{tools['compiler']}: what they quote differs")
        stale = list(ledger.write(ROOT, stages, techniques, tools, update))
    except Missing as reason:
        print(f"skipped: {reason}")
        return 77
    for path in stale:
        print(f"updated {path}" if update
              else f"stale: {path}; run python3 common/tools evidence report --update")
    return 1 if stale and not update else 0


def parse(arguments):
    parser = cli.parser_of("evidence", __doc__)
    steps = cli.steps_of(parser, check="is every technique that is declared proven?",
                         reject="is every false claim of counter_examples/ rejected?",
                         distinct="is any variant another one under a second name?",
                         report="writes the tables, or says which are stale")
    for name in ("check", "reject"):
        steps[name].add_argument("--technique", metavar="NAME")
    what = steps["report"].add_mutually_exclusive_group(required=True)
    what.add_argument("--update", action="store_true")
    what.add_argument("--check", action="store_true")
    for step in steps.values():
        step.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "emulated", metavar="BUILD")
    return parser.parse_args(arguments)


def main(arguments):
    chosen = parse(arguments)
    stages, techniques = facts.read(chosen.build)
    if chosen.step == "check":
        return check_claims(stages, techniques, chosen.technique)
    if chosen.step == "reject":
        return reject_claims(stages, techniques, chosen.technique)
    if chosen.step == "distinct":
        return check_distinct(stages)
    return report(stages, techniques, chosen.build, chosen.update)
