"""Logs of searches: a JSON object a line, and tables of them in Markdown.

The first line says what was searched, where and how; the second is the source as it is; then come the trials,
in order, and in a whole log what was timed once more, in rounds.
"""

import dataclasses
import statistics

from .. import records
from ..errors import BadInput
from ..records import NULL, NUMBER, OR

TRIAL = {"search": str, "verdict": str, "digest": OR(str, NULL), "settings": {str: str}, "median_us?": NUMBER,
         "max_abs_error?": NUMBER, "why?": str, "kernels?": [str]}
FINAL = {"digest": str, "settings": {str: str}, "rounds_us": [NUMBER]}
LOG = records.Kind(
    "log of a search",
    {"space": str, "stage": str, "variant": str, "shape": str, "programs": int, "knobs": {str: [str]},
     "budget": int,
     "gpu": str, "driver": str, "nvcc": str, "commit": str, "command": str, "date": str},
    row=OR(TRIAL, FINAL))


def read_rows(path):
    """(context, the source, the others)."""
    context, rows = records.read_rows(path, LOG)
    reason = "it has no source" if not rows or rows[0].get("search") != "source" else records.misfit(
        rows[0], {**TRIAL, "median_us_by_generation": [NUMBER]}, "line 2")
    if not reason and not all(context["knobs"].values()):
        reason = "a knob has no settings"
    if reason:
        raise BadInput(f"{path} is no log of a search: {reason}")
    return context, rows[0], rows[1:]


@dataclasses.dataclass
class Log:
    context: dict
    source: dict
    trials: list
    finals: list

    def of(self, search):
        return [trial for trial in self.trials if trial["search"] == search]

    def counted(self, search):
        return [trial for trial in self.of(search) if trial["verdict"] in ("right", "wrong", "fails")]

    def finders(self, digest):
        """Who had this program: one may be found twice."""
        found = [trial["search"] for trial in [self.source, *self.trials] if trial["digest"] == digest]
        return sorted(set(found), key=found.index)


def read_log(path):
    context, source, rows = read_rows(path)
    log = Log(context, source, [row for row in rows if "rounds_us" not in row],
              [row for row in rows if "rounds_us" in row])
    whole = log.finals and all(row["rounds_us"] for row in log.finals) and source["median_us_by_generation"]
    if not whole or not all(log.counted(search) for search in ("evolution", "random")):
        raise BadInput(f"{path} is not the whole log of a search")
    return log


def table_row(*cells):
    return "| " + " | ".join(map(str, cells)) + " |\n"


def heading(*cells):
    return table_row(*cells) + table_row(*["---"] * len(cells))


def us(time):
    return f"{time:.4g}"


def searches_table(log):
    budget = log.context["budget"]
    marks = [n for n in (16, 32, 64, 128, 256) if n < budget] + [budget]
    text = heading("search", "drawn", "did not compile", "same code as another", "trials", "fail", "wrong",
                   "right",
                   "median of the right, us", *(f"best of the first {n}" for n in marks))
    for search in ("evolution", "random"):
        verdicts = [trial["verdict"] for trial in log.of(search)]
        times = [trial.get("median_us", float("inf")) for trial in log.counted(search)]
        right = [time for time in times if time < float("inf")]
        text += table_row(search, len(verdicts), verdicts.count("does not compile"),
                          verdicts.count("same code"),
                          len(times), verdicts.count("fails"), verdicts.count("wrong"), len(right),
                          us(statistics.median(right)) if right else "-", *(us(min(times[:n]))
                                                                            for n in marks))
    return text


def finals_table(log):
    text = heading("found by", "what differs from the source", "median us", "least - most")
    for final in sorted(log.finals, key=lambda row: statistics.median(row["rounds_us"])):
        times = final["rounds_us"]
        changes = "; ".join(f"{name}: {setting}" for name, setting in final["settings"].items())
        text += table_row(", ".join(log.finders(final["digest"])), changes or "the source as it was",
                          us(statistics.median(times)), f"{us(min(times))} - {us(max(times))}")
    return text


def settings_table(log):
    """What a setting is worth over the random trials, which draw all of them evenly."""
    right = [trial for trial in log.of("random") if trial["verdict"] == "right"]
    text = heading("choice", "setting, and the median us of the random trials with it")
    for name, settings in log.context["knobs"].items():
        cells = []
        for setting in settings:
            times = [trial["median_us"] for trial in right
                     if trial["settings"].get(name, settings[0]) == setting]
            cells.append(f"{setting}: {us(statistics.median(times)) if times else 'not drawn'}")
        text += table_row(name, "; ".join(cells))
    return text


def tables(log):
    c, again = log.context, log.source["median_us_by_generation"]
    return (f"## `{c['stage']}/{c['variant']}`, {c['shape'] or 'headline shape'}\n\n{c['programs']:,} "
            f"programs (`{c['space']}.py`). {c['budget']} trials each, no two of a search with the same "
            f"machine code. The first 16 of evolution are drawn at random, too.\n\n{searches_table(log)}\n"
            f"The source as it was, timed after each generation: {us(min(again))} to {us(max(again))} us. At "
            f"the end the best were timed again, {len(log.finals[0]['rounds_us'])} rounds, each in "
            f"turn:\n\n{finals_table(log)}\nWhat settings are worth by themselves. The first of each row is "
            f"the source's:\n\n{settings_table(log)}\n{c['gpu']}, driver {c['driver']}, nvcc {c['nvcc']}, "
            f"source of commit `{c['commit'][:12]}`, {c['date']}: `{c['command']}`.\n")


def document(paths):
    return ("# Search logs\n\nMade by `python3 common/tools search table` from the logs beside this file; "
            "not edited "
            "by hand.\n\n" + "\n".join(tables(read_log(path)) for path in paths))
