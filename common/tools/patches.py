"""Changes of kernel sources, kept as unified diffs and applied by what the compiler reads.

A hunk is looked for by its C++ tokens: white space, line breaks and comments do not count, nor do line
numbers. It must match exactly one place of its file; one that matches none or several no longer applies, and
the error says which hunk of which patch that is. Several hunks are all matched against the source as it is
and change it together, so that one may stand in the context of another; two that change the same tokens do
not go together.

The files are ordinary unified diffs. Lines before the first `---` are remarks; what stands behind the second
@@ of a hunk is its note.
"""

import dataclasses
import difflib
import functools
import re

from . import records
from .errors import BadInput

TOKEN = re.compile(r"""
    (?P<comment> //(?:\\\n|[^\n])* | /\*.*?\*/ )
  | (?P<directive> (?<![^\n]) [ \t]* \# (?:\\\n|[^\n])* )
  | (?P<space> \n | [^\S\n]+ )
  | (?P<raw> (?:u8|[uUL])?R"(?P<delimiter>[^()\s]*)\(.*?\)(?P=delimiter)" )
  | (?P<quoted> (?:u8|[uUL])?"(?:\\.|[^"\\\n])*" | (?:u8|[uUL])?'(?:\\.|[^'\\\n])+' )
  | (?P<number> \.?\d (?: [eEpP][+-] | '?[\w.] )* )
  | (?P<word> [A-Za-z_]\w* )
  | (?P<sign> \.\.\. | ->\* | <=> | << = | :: | -> | \+\+ | -- | << | <= | >= | == | != | && | \|\| | \#\#
            | [-+*/%&|^]= | . )
""", re.X | re.S)


class Stale(BadInput):
    """A hunk that no longer applies."""


@dataclasses.dataclass(frozen=True)
class Token:
    text: str   # as it is compared
    raw: str    # as it stands there
    gap: str    # white space and comments before it
    start: int  # in the file

    def is_directive(self):
        return self.raw.startswith("#")


@functools.lru_cache(maxsize=512)
def tokens_of(source):
    """(the tokens, the white space and comments after the last)."""
    tokens, gap = [], ""
    for match in TOKEN.finditer(source):
        raw, kind = match[0], match.lastgroup
        if kind in ("comment", "space"):
            gap += raw
            continue
        text, start = raw, match.start()
        if kind == "directive":  # one token, whose inner white space and comments do not count either
            indent = raw[:raw.index("#")]
            gap, raw, start = gap + indent, raw[len(indent):], start + len(indent)
            text = " ".join(re.sub(r"\\\n|//.*|/\*.*?\*/", " ", raw).split())
        tokens.append(Token(text, raw, gap, start))
        gap = ""
    return tokens, gap


def texts_of(tokens):
    return [token.text for token in tokens]


def line_of(source, position):
    return source.count("\n", 0, position) + 1


@dataclasses.dataclass(frozen=True)
class Change:
    """Tokens of a hunk's context and removed lines, [begin, end) of which are replaced."""
    begin: int
    end: int
    tokens: tuple


@dataclasses.dataclass(eq=False)
class Hunk:
    patch: str    # the file that it is in
    number: int   # in that file, from 1
    path: str     # the file that it changes
    note: str
    lines: list   # each with its mark: " ", "-" or "+"

    def __str__(self):
        return f"{self.patch}: hunk {self.number}" + (f" ({self.note})" if self.note else "")

    def side(self, mark):
        """The text before ("-") or after ("+") the change."""
        return "".join(line[1:] + "\n" for line in self.lines if line[0] in (" ", mark))

    def before(self):
        return tokens_of(self.side("-"))[0]

    def marked(self, mark):
        """For each token of that side, the number of the run of changed lines that it is in, or None."""
        starts, runs, at, run = [], [], 0, 0
        for last, line in zip([" ", *(line[0] for line in self.lines)], self.lines):
            run += line[0] != " " and last == " "
            if line[0] in (" ", mark):
                starts.append(at)
                runs.append(run if line[0] == mark else None)
                at += len(line)
        tokens = tokens_of(self.side(mark))[0]
        last_line, found = -1, []
        for token in tokens:
            while last_line + 1 < len(starts) and starts[last_line + 1] <= token.start:
                last_line += 1
            found.append(runs[last_line])
        return tokens, found

    @functools.cached_property
    def changes(self):
        """What is to be replaced, as few tokens as can be."""
        before, old_runs = self.marked("-")
        after, new_runs = self.marked("+")
        changes, i, j = [], 0, 0
        while i < len(before) or j < len(after):
            run = old_runs[i] if i < len(before) and old_runs[i] is not None else None
            new_run = new_runs[j] if j < len(after) and new_runs[j] is not None else None
            if run is None and new_run is None:
                i, j = i + 1, j + 1
                continue
            run = min(n for n in (run, new_run) if n is not None)
            end, new_end = i, j
            while end < len(before) and old_runs[end] == run:
                end += 1
            while new_end < len(after) and new_runs[new_end] == run:
                new_end += 1
            changes += differences(before, i, end, after, j, new_end)
            i, j = end, new_end
        return changes


def differences(before, i, end, after, j, new_end):
    """The changes that turn before[i:end] into after[j:new_end]."""
    old, new = texts_of(before[i:end]), texts_of(after[j:new_end])
    return [Change(i + old_begin, i + old_end, tuple(after[j + new_begin:j + new_end]))
            for kind, old_begin, old_end, new_begin, new_end
            in difflib.SequenceMatcher(None, old, new, False).get_opcodes() if kind != "equal"]


# ---- Reading ----

def read(path):
    """The hunks of a patch file."""
    name = path.name if not path.parent.name else f"{path.parent.name}/{path.name}"
    hunks, target, left, old = [], None, (0, 0), None
    for number, line in enumerate(records.read_text(path).splitlines(), 1):
        if any(left):
            if line == "":
                line = " "  # an editor has taken the blank from an empty line
            if line[0] not in " -+":
                raise BadInput(f"{path}:{number}: neither ' ', '-' nor '+' begins this line of a hunk")
            hunks[-1].lines.append(line)
            left = left[0] - (line[0] != "+"), left[1] - (line[0] != "-")
            if min(left) < 0:
                raise BadInput(f"{path}:{number}: the hunk has more lines than its @@ says")
        elif line.startswith("--- "):
            old = line[4:].split("\t")[0]
        elif line.startswith("+++ ") and old is not None:
            target = line[4:].split("\t")[0]
            if old.removeprefix("a/") != target.removeprefix("b/"):
                raise BadInput(f"{path}:{number}: a patch changes files, and neither adds, removes nor "
                               "renames them")
            target = target.removeprefix("b/")
        elif line.startswith("@@"):
            header = re.fullmatch(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@ ?(.*)", line)
            if not header or target is None:
                raise BadInput(f"{path}:{number}: "
                               + ("no hunk's header" if target else "no file is named before it"))
            left = int(header[1] or 1), int(header[2] or 1)
            hunks.append(Hunk(name, len(hunks) + 1, target, header[3], []))
        elif target is not None and line.strip() and not line.startswith("\\"):
            raise BadInput(f"{path}:{number}: neither a hunk nor a file's name")
    if any(left):
        raise BadInput(f"{path}: the last hunk has fewer lines than its @@ says")
    if not hunks:
        raise BadInput(f"{path} is no patch: it has no hunk")
    for hunk in hunks:
        if not hunk.changes:
            raise BadInput(f"{hunk} changes nothing")
    return hunks


# ---- Applying ----

def places(wanted, tokens):
    """Where these texts stand among the tokens, by index."""
    texts = texts_of(tokens)
    if not wanted:
        return []
    return [i for i in range(len(texts) - len(wanted) + 1)
            if texts[i] == wanted[0] and texts[i:i + len(wanted)] == wanted]


@functools.lru_cache(maxsize=4096)
def place_of(hunk, source):
    """The only place of the hunk, by index of token."""
    wanted, tokens = texts_of(hunk.before()), tokens_of(source)[0]
    found = places(wanted, tokens)
    if len(found) == 1:
        return found[0]
    if found:
        lines = ", ".join(str(line_of(source, tokens[i].start)) for i in found)
        raise Stale(f"{hunk} no longer applies: {hunk.path} has {len(found)} places like it, at lines "
                    f"{lines}; give it more context")
    where = nearest(wanted, tokens, source)
    raise Stale(f"{hunk} no longer applies: {hunk.path} has no place like it{where}")


def nearest(wanted, tokens, source):
    """Where most of it is found, in words."""
    texts, best, at = texts_of(tokens), 0, 0
    for start in range(len(texts)):
        length = 0
        while texts[start + length:start + length + 1] == wanted[length:length + 1] != []:
            length += 1
        if length > best:
            best, at = length, start
    if 2 * best < len(wanted):
        return ""
    if at + best == len(texts):
        return ", which ends within it"
    return (f"; at line {line_of(source, tokens[at + best].start)} it has '{texts[at + best]}' in place of "
            f"'{wanted[best]}'")


def apply(hunks, texts):
    """The texts, {path: source}, with all hunks applied."""
    changed = {}
    for path in dict.fromkeys(hunk.path for hunk in hunks):
        if path not in texts:
            hunk = next(hunk for hunk in hunks if hunk.path == path)
            raise Stale(f"{hunk} no longer applies: there is no {path}")
        edits = []
        for hunk in hunks:
            if hunk.path == path:
                place = place_of(hunk, texts[path])
                edits += [(place + change.begin, place + change.end, change.tokens, hunk)
                          for change in hunk.changes]
        changed[path] = edited(texts[path], edits)
    return {**texts, **changed}


def edited(source, edits):
    """What is inserted in one place comes in the order of the edits; where one ends, another may begin."""
    edits = sorted(edits, key=lambda edit: edit[:2])
    for (_, end, _, first), (begin, _, _, second) in zip(edits, edits[1:]):
        if begin < end:
            raise BadInput(f"{first} and {second} do not go together: both change the same tokens of "
                           f"{first.path}")
    tokens, last_gap = tokens_of(source)
    text, last, at = "", None, 0
    for begin, end, new, _ in [*edits, (len(tokens), len(tokens), (), None)]:
        if at < begin:
            first = tokens[at]
            text += between(last, first) + source[first.start:end_of(tokens[begin - 1])]
            last = tokens[begin - 1]
        for token in new:
            text += between(last, token) + token.raw
            last = token
        at = end
    return text + last_gap


def end_of(token):
    return token.start + len(token.raw)


def between(last, token):
    """The white space and comments before a token, where `last` comes before it now."""
    if last is None:
        return token.gap
    if last.is_directive() or token.is_directive():
        return token.gap if "\n" in token.gap else "\n" + token.gap
    if not token.gap and texts_of(tokens_of(last.raw + token.raw)[0]) != [last.text, token.text]:
        return " "
    return token.gap


def line_of_change(hunk, source):
    """The line of the first token that a hunk takes away, or puts others before."""
    tokens = tokens_of(source)[0]
    first = place_of(hunk, source) + hunk.changes[0].begin
    return line_of(source, tokens[min(first, len(tokens) - 1)].start)


# ---- Writing ----

CONTEXT_LINES = 2  # with tokens, on each side of a change, or more where that is no unique place


def make(path, old, new, note=""):
    """Pairs of a first line and a hunk that turn the text `old` of a file into `new`, each hunk with as much
    context as makes its place unique."""
    old_lines, new_lines = old.splitlines(), new.splitlines()
    opcodes = [list(code) for code in difflib.SequenceMatcher(None, old_lines, new_lines, False).get_opcodes()
               if code[0] != "equal"]
    groups = []  # of opcodes that share a hunk, with the lines of `old` that it covers
    for code in opcodes:
        group = with_context([code], old_lines, old)
        while groups and groups[-1][1] >= group[0]:
            group = with_context([*groups.pop()[2], *group[2]], old_lines, old)
        groups.append(group)
    hunks = []
    for begin, end, codes in groups:
        lines, at = [], begin
        for _, i, i_end, j, j_end in codes:
            lines += [" " + line for line in old_lines[at:i]]
            lines += ["-" + line for line in old_lines[i:i_end]] + ["+" + line for line in new_lines[j:j_end]]
            at = i_end
        lines += [" " + line for line in old_lines[at:end]]
        hunks.append((begin, Hunk("", len(hunks) + 1, path, note, lines)))
    return hunks


def has_tokens(line):
    return bool(tokens_of(line)[0])


def with_context(codes, lines, source):
    """(first line, end, codes): widened until its tokens are in one place of the file."""
    begin, end = codes[0][1], codes[-1][2]
    for _ in range(CONTEXT_LINES):
        begin, end = wider(begin, end, lines)
    tokens = tokens_of(source)[0]
    while True:
        wanted = texts_of(tokens_of("".join(line + "\n" for line in lines[begin:end]))[0])
        if len(places(wanted, tokens)) == 1 or (begin, end) == (0, len(lines)):
            return begin, end, codes
        begin, end = wider(begin, end, lines)


def wider(begin, end, lines):
    """By a line with tokens on each side."""
    while begin > 0:
        begin -= 1
        if has_tokens(lines[begin]):
            break
    while end < len(lines):
        end += 1
        if has_tokens(lines[end - 1]):
            break
    return begin, end


def unified(hunks, remark=""):
    """The text of a patch file with these pairs of a first line and a hunk, as make() returns them."""
    text, path, shift = remark and remark + "\n", None, 0
    for begin, hunk in hunks:
        if hunk.path != path:
            path, shift = hunk.path, 0
            text += f"--- a/{path}\n+++ b/{path}\n"
        removed, added = (sum(line[0] in (" ", mark) for line in hunk.lines) for mark in "-+")
        note = f" {hunk.note}" if hunk.note else ""
        text += f"@@ -{begin + (removed > 0)},{removed} +{begin + shift + (added > 0)},{added} @@{note}\n"
        text += "".join(line + "\n" for line in hunk.lines)
        shift += added - removed
    return text


def remark_of(path):
    """The lines before the first file's name."""
    return records.read_text(path).partition("--- ")[0].rstrip("\n")


def fitted(hunk, texts):
    """(first line, hunk) with the hunk as it is, or with less context, where that makes it unique among all
    of the texts, {path: source}; its path may be another then. Raises Stale where nothing does."""
    for lines in shorter(hunk.lines):
        shortened = dataclasses.replace(hunk, lines=lines)
        wanted = texts_of(shortened.before())
        found = [(path, tokens_of(source)[0][place].start) for path, source in texts.items()
                 for place in places(wanted, tokens_of(source)[0])]
        if len(found) == 1:
            path, start = found[0]
            return line_of(texts[path], start) - 1, dataclasses.replace(shortened, path=path)
    raise Stale(f"{hunk} no longer applies, nor with less context")


def shorter(lines):
    """The hunk's lines with less and less context, at either end."""
    first = next(i for i, line in enumerate(lines) if line[0] != " ")
    last = next(i for i, line in enumerate(reversed(lines)) if line[0] != " ")
    cuts = [(before, behind) for before in range(first + 1) for behind in range(last + 1)]
    for before, behind in sorted(cuts, key=lambda cut: (sum(cut), cut)):
        yield lines[before:len(lines) - behind]
