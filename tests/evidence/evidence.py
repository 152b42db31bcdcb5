#!/usr/bin/env python3
"""Holds what stages claim against machine code, launches and counters; see README.md.

  evidence.py check [--technique NAME]   every technique that a variant declares is proven; notes what is proven and not
                                         declared
  evidence.py reject [--technique NAME]  every claim of counter_examples/ is rejected; each technique has one there
  evidence.py distinct                   no two variants of a stage are the same machine code, launched in the same way
  evidence.py report --update|--check    writes the tables in the stages' READMEs and the book, or says which are stale

Facts come from BUILD (build/emulated unless given with --build), whose target evidence_facts makes them.
Exit codes: 0 proven, 1 not, 2 bad input, 77 skipped: what it takes is not on this machine.
"""

import argparse
import pathlib
import sys

sys.dont_write_bytecode = True  # tests leave the sources alone
sys.path.insert(0, str(pathlib.Path(__file__).parent))
import facts
import ledger
from checkers import PROOFS, Refuted, check
from facts import BadInput, Missing

ROOT = pathlib.Path(__file__).resolve().parents[2]


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


def chosen(techniques, technique):
    if technique and technique not in techniques:
        raise BadInput(f"no technique is called '{technique}'; there is {', '.join(techniques)}")
    return [technique] if technique else techniques


def nobody(outcome, stages, text):
    """Nobody claims a technique: a failure, unless whoever may do so is not known without nvcc (the harness is not)."""
    if "harness" in stages:
        outcome.failed(text)
    else:
        outcome.skip(text, facts.NO_NVCC)


def check_claims(stages, techniques, only):
    outcome = Outcome()
    for technique in chosen(techniques, only):
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
        claimed = any(technique in variant.techniques for stage in stages.values() if not is_counter_example(stage)
                      for variant in stage.variants)
        if not claimed:
            nobody(outcome, stages, f"{technique}: neither a stage nor examples/ has it: can it be proven at all?")
    unknown = set(PROOFS) - set(techniques)
    if unknown:
        outcome.failed(f"checkers of unknown techniques: {', '.join(sorted(unknown))}")
    return outcome.exit_code()


def reject_claims(stages, techniques, only):
    outcome = Outcome()
    variants = [variant for stage in stages.values() if is_counter_example(stage) for variant in stage.variants]
    for technique in chosen(techniques, only):
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
            outcome.proven("counter_examples: one kernel under two names is found, the same launched otherwise is not")
        else:
            outcome.failed(f"counter_examples: found {found or 'nothing'} where twin and other_twin are one")
    except Missing as reason:
        outcome.skip("machine code", reason)
    return outcome.exit_code()


def report(stages, techniques, build, root, update):
    stages = {name: stage for name, stage in stages.items() if is_rung(stage) or name == "harness"}
    tools = facts.tools(build)
    try:
        if not tools["nvcc"]:
            raise Missing(facts.NO_NVCC)
        written = ledger.tools_of_tables(root)
        if not update and written and written != {(tools["nvcc"], tools["compiler"])}:
            nvcc, compiler = sorted(written)[0]
            raise Missing(f"the tables were written with {nvcc} and {compiler}, this is {tools['nvcc']} and "
                          f"{tools['compiler']}: what they quote differs")
        stale = list(ledger.write(root, stages, techniques, tools, update))
    except Missing as reason:
        print(f"skipped: {reason}")
        return 77
    for path in stale:
        print(f"updated {path}" if update else f"stale: {path}; run tests/evidence/evidence.py report --update")
    return 1 if stale and not update else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in ("check", "reject"):
        commands.add_parser(command).add_argument("--technique", metavar="NAME")
    commands.add_parser("distinct")
    what = commands.add_parser("report").add_mutually_exclusive_group(required=True)
    what.add_argument("--update", action="store_true")
    what.add_argument("--check", action="store_true")
    for command in commands.choices.values():
        command.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "emulated", metavar="BUILD")
    arguments = parser.parse_args()
    try:
        stages, techniques = facts.read(arguments.build)
        if arguments.command == "check":
            return check_claims(stages, techniques, arguments.technique)
        if arguments.command == "reject":
            return reject_claims(stages, techniques, arguments.technique)
        if arguments.command == "distinct":
            return check_distinct(stages)
        return report(stages, techniques, arguments.build, ROOT, arguments.update)
    except (BadInput, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
