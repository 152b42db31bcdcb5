"""For each technique of common/include/attention/technique.hpp, what proves that a variant uses it.

A proof is a function of a variant that returns what to quote, or raises Refuted (it does not use it), Missing
(a tool is not on this machine) or Inapplicable (this proof cannot be had of this variant). A technique may
have several, each sufficient: all that can be had must hold, and at least one has to be had.
"""

import hashlib
import json
import math
import pathlib
import re
import statistics

from ..cli import ROOT
from ..search import log
from .facts import Inapplicable, Missing


class Refuted(Exception):
    pass


PROOFS = {}


def proves(technique):
    def register(function):
        PROOFS.setdefault(technique, []).append(function)
        return function
    return register


def check(technique, variant):
    """Returns the quotes of all proofs that can be had."""
    quotes, missing, inapplicable = [], [], []
    for proof in PROOFS[technique]:
        try:
            quotes.append(proof(variant))
        except Missing as reason:
            missing.append(str(reason))
        except Inapplicable as reason:
            inapplicable.append(str(reason))
    if quotes:
        return "; ".join(quotes)
    if missing:
        raise Missing(missing[0])
    raise Refuted("nothing here can prove it: " + ", ".join(inapplicable))


def require(condition, otherwise):
    if not condition:
        raise Refuted(otherwise)


def instructions(kernel, ptx, sass=None):
    """Opcodes in a kernel's PTX, in order. Refuted where SASS can be read and has no such instruction."""
    found = re.findall(rf"^\s*(?:\{{\s*)?(?:@!?%\w+\s+)?({ptx})(?=[\s;])", kernel.ptx, re.M)
    if found and sass and kernel.sass is not None:
        require(re.search(rf"\b{sass}", kernel.sass),
                f"{kernel.short_name}: {found[0]} in PTX, no {sass} in SASS")
    return found


def quote_where(variant, ptx, sass, otherwise):
    """The first instruction of each kernel that has one; at least one kernel must."""
    quotes = {}
    for kernel in variant.kernels():
        found = instructions(kernel, ptx, sass)
        if found:
            quotes.setdefault(found[0], []).append(kernel.short_name)
    require(quotes, otherwise)
    return ", ".join(f"`{opcode}` in {' and '.join(names)}" for opcode, names in quotes.items())


def number(value):
    return f"{value:,}"


def launched_once_without_workspace(call, launches):
    """One launch, and no room for even a row of scores; a counter may be there. Returns what to quote."""
    require(launches == 1, f"{launches} launches")
    workspace = call["workspace_bytes"]
    require(workspace < 2 * call["seq_kv"], f"a workspace of {number(workspace)} B")
    return f"one launch, a workspace of {workspace} B" if workspace else "one launch, no workspace"


# To shared memory, a tensor's box or bytes in a row.
BULK_COPY = r"cp\.async\.bulk(?:\.tensor)?[.\w]*\.shared::cluster\.global[.:\w]*"
BULK_COPY_SASS = "U(BLKCP|TMALDG)"


def leave_out_copy_engine(variant):
    """Counts of loads and stores say nothing of a variant whose bytes the copy engine moves."""
    if variant.total("bulk_loads"):
        raise Inapplicable("the copy engine moves its bytes")


# ---- 1: custom kernel ----

# The CUDA runtime, C++'s own, and this project: what host code that launches kernels needs.
ALLOWED_IMPORTS = re.compile(r"(__)?cuda[A-Z]|_ZNK?9attention|_ZNK?S|_ZS|_Zn[aw]|_Zd[al]|_Unwind_|__cxa_|"
                             r"__gxx_|__stack_chk|_GLOBAL_OFFSET_TABLE_|__dso_handle|"
                             r"(mem|str)[a-z]+$|atexit$")


@proves("custom_kernel")
def own_kernels(variant):
    foreign = [name for name in variant.stage.imports() if not ALLOWED_IMPORTS.match(name)]
    require(not foreign, f"calls {', '.join(foreign[:3])}")
    kernels = variant.kernels()  # looked up in the stage's own machine code
    require(kernels, "launches no kernel")
    return f"launches {', '.join(kernel.short_name for kernel in kernels)}; imports the CUDA runtime alone"


# ---- 2 to 6: memory ----

@proves("coalesced_access")
def whole_sectors(variant):
    parts = []
    for what in ("load", "store"):
        sectors = variant.total(f"global_{what}_sectors")
        ideal = variant.total(f"global_{what}_sectors_ideal")
        require(ideal > 0, f"no global {what}s")
        require(sectors == ideal, f"{number(sectors)} sectors of global {what}s, ideal {number(ideal)}")
        parts.append(f"{number(sectors)} sectors of global {what}s, ideal the same")
    return ", ".join(parts)


@proves("shared_memory_tiling")
def fewer_bytes(variant):
    least_factor = 4
    problem = variant.counted_problem()
    require(variant.total("shared_store_bytes", "async_bytes", "bulk_load_bytes") > 0,
            "writes nothing to shared memory")
    # K and V, two bytes an element, for each row of queries.
    untiled = problem["heads"] * problem["seq_q"] * 2 * problem["seq_kv"] * problem["head_dim"] * 2
    loaded = variant.total("global_load_bytes", "bulk_load_bytes")
    require(loaded * least_factor <= untiled,
            f"{number(loaded)} B loaded, {number(untiled)} with K and V read for each row")
    return f"{number(loaded)} B loaded; reading K and V for each row would be {number(untiled)}"


@proves("wide_loads")
def wide_instructions(variant):
    quotes = []
    for kernel in variant.kernels():
        loads = instructions(kernel, r"ld\.global[.\w]*", "LDG")
        wide = [load for load in loads if re.search(r"\.v4\.[bufs]32|\.v2\.[bufs]64", load)]
        if not loads:
            continue
        require(2 * len(wide) > len(loads),
                f"{kernel.short_name}: {len(wide)} of {len(loads)} loads are of 16 bytes")
        if kernel.sass is not None:
            require(re.search(r"\bLDG\.E[.\w]*\.128", kernel.sass),
                    f"{kernel.short_name}: no LDG.E.128 in SASS")
        quotes.append((wide[0], kernel.short_name))
    require(quotes, "no kernel loads from global memory to registers")
    return ", ".join(f"`{opcode}` in {name}" for opcode, name in quotes)


@proves("wide_loads")
def wide_requests(variant):
    requests = variant.total("global_load_requests") - variant.total("cp_async")
    loaded = variant.total("global_load_bytes") - variant.total("async_bytes")
    require(requests > 0, "no loads to registers")
    require(loaded > requests * 32 * 8, f"{loaded / requests / 32:.1f} B a lane")
    return f"{loaded / requests / 32:.3g} B a lane and load"


@proves("no_bank_conflicts")
def ideal_wavefronts(variant):
    leave_out_copy_engine(variant)  # its writes, and wgmma's reads of them, are not counted by wavefront
    require(variant.total("shared_load_wavefronts") > 0, "no loads from shared memory")
    parts = []
    for what in ("shared_load", "shared_store", "async_store"):
        wavefronts, ideal = variant.total(f"{what}_wavefronts"), variant.total(f"{what}_wavefronts_ideal")
        require(wavefronts == ideal, f"{number(wavefronts)} wavefronts of {what}, ideal {number(ideal)}")
        if wavefronts:
            parts.append(f"{number(wavefronts)} wavefronts of {what.replace('_', ' ')}s, ideal the same")
    return ", ".join(parts)


@proves("l2_persistence")
def window_within_what_is_set_aside(variant):
    call = variant.calls()[0]
    events = call["calls"]
    launches = [i for i, event in enumerate(events) if event["call"] == "launch"]
    limits = [(i, event["persisting_l2_bytes"]) for i, event in enumerate(events)
              if event["call"] == "cudaDeviceSetLimit"]
    before = [limit for i, limit in limits if i < launches[0]]
    after = [limit for i, limit in limits if i > launches[-1]]
    require(before and before[-1] > 0, "no part of L2 is set aside before the launches")
    require(after and after[-1] == 0, "the part of L2 is not given back after them")
    tensors = [(call[name], call["kv_bytes"]) for name in "kv"]
    windows = [a for i in launches for a in events[i]["attributes"] if a["id"] == "accessPolicyWindow"]
    require(windows, "no launch has an access-policy window")
    for window in windows:
        require(window["persisting"] and window["bytes"] > 0 and window["hit_ratio"] > 0,
                "a window that keeps nothing")
        end = window["base"] + window["bytes"]
        require(any(base <= window["base"] and end <= base + size for base, size in tensors),
                "a window outside of K and V")
        require(window["bytes"] * window["hit_ratio"] <= before[-1], "more is marked than is set aside")
    return (f"limit of {number(before[-1])} B set, windows of {number(windows[0]['bytes'])} B on "
            f"{len(windows)} of {len(launches)} launches, limit back to 0")


# ---- 7 to 10: tensor cores ----

@proves("wmma")
def wmma_instructions(variant):
    return quote_where(variant, r"wmma\.mma\.sync[.\w]*\.m16n16k16[.\w]*", "HMMA",
                       "no `wmma.mma.sync` of 16x16x16 in PTX")


@proves("fp16_accumulation")
def half_sums(variant):
    quote = quote_where(variant, r"wmma\.mma\.sync[.\w]*\.f16\.f16|mma\.sync[.\w]*\.f16\.f16\.f16\.f16",
                        r"HMMA[.\w]*\.F16", "no product with FP16 sums in PTX")
    require(variant.extra_roundings > 0, "its larger error is not stated (extra_roundings)")
    return f"{quote}; {variant.extra_roundings:g} more roundings of a sum stated"


READS, WAITS = ("ldmatrix", "shared_load"), ("block_barrier", "named_barrier", "cp_async_wait_group")


def turns(events):
    """By source line that reads shared memory: the ranges it reads between one wait and the next, in order,
    each with the index of its first read."""
    lines, waits = {}, 0
    for i, (kind, line, begin, end) in enumerate(events):
        waits += kind in WAITS
        if kind in READS:
            seen = lines.setdefault(line, [])
            if seen and seen[-1]["waits"] == waits:
                seen[-1].update(begin=min(seen[-1]["begin"], begin), end=max(seen[-1]["end"], end))
            else:
                seen.append({"waits": waits, "first": i, "begin": begin, "end": end})
    return lines


def overlap(event, turn):
    return event[2] < turn["end"] and turn["begin"] < event[3]


def loaded_ahead(events, before, now, then):
    """Is the tile that is read at `then` asked for after that of `now` is in place, and before it is read?
    Returns by which instruction."""
    first = now["first"]
    copies = [i for i in range(then["first"]) if events[i][0] == "cp_async" and overlap(events[i], then)]
    if copies:
        return "cp_async" if (before["first"] if before else -1) < copies[-1] < first else None
    stores = [i for i in range(then["first"]) if events[i][0] == "shared_store" and overlap(events[i], then)]
    if not stores or stores[-1] < first:
        return None
    last_store = max((i for i in range(first) if events[i][0] == "shared_store"), default=-1)
    # A copy in one statement is no early load, though the emulated device may tell its store before its load.
    copying_lines = {line for kind, line, *_ in events if kind == "shared_store"}
    early = any(kind == "global_load" and line not in copying_lines
                for kind, line, *_ in events[last_store + 1:first])
    return "global_load" if early else None


def alternating_buffers(variant):
    """(kernel, how, distance in bytes) of each place where buffers alternate and the next is loaded early."""
    for kernel in variant.counts():
        events = kernel["events"]
        for seen in turns(events).values():
            for i in range(len(seen) - 1):
                now, then = seen[i], seen[i + 1]
                if now["begin"] < then["end"] and then["begin"] < now["end"]:
                    continue  # one buffer
                how = loaded_ahead(events, seen[i - 1] if i else None, now, then)
                if how:
                    yield kernel["kernel"], how, abs(then["begin"] - now["begin"])


def name_of(counted_kernel):
    return re.sub(r"<.*", "", counted_kernel).split("::")[-1]


@proves("double_buffering")
def next_tile_in_other_buffer(variant):
    for kernel, how, distance in alternating_buffers(variant):
        return (f"{name_of(kernel)}: {how} of the next tile, {number(distance)} B away, comes before the "
                "reads of this one")
    raise Refuted("no two buffers of which one is loaded before the other is read")


@proves("multi_stage_pipeline")
def groups_in_flight(variant):
    groups = max(kernel["total"]["max_groups_in_flight"] for kernel in variant.counts())
    require(groups > 1, f"{groups} commit group(s) of cp.async in flight")
    for kernel, how, distance in alternating_buffers(variant):
        if how == "cp_async":
            return f"{groups} commit groups in flight, tiles {number(distance)} B apart"
    raise Refuted("no tile is asked for before the one before it is read")


@proves("warp_specialization")
def two_kinds_of_warps(variant):
    leave_out_copy_engine(variant)
    for kernel in variant.counts():
        loading = [warp["global_load_requests"] + warp["cp_async"] for warp in kernel["warps"]]
        multiplying = [warp["mma"] for warp in kernel["warps"]]
        if not any(multiplying):
            continue
        alike = sum(1 for loads, products in zip(loading, multiplying) if bool(loads) == bool(products))
        require(alike == 0,
                f"{name_of(kernel['kernel'])}: {alike} of {len(loading)} warps do both or neither")
        producers = sum(map(bool, loading))
        return (f"{name_of(kernel['kernel'])}: {producers} warps load and multiply nothing, "
                f"{len(loading) - producers} multiply ({number(sum(multiplying))} products) and load nothing")
    raise Refuted("no kernel multiplies on tensor cores")


def register_moves(kernel):
    """What gives up registers, and what takes them."""
    return (instructions(kernel, r"setmaxnreg\.dec[.\w]*", r"USETMAXREG\.DEALLOC"),
            instructions(kernel, r"setmaxnreg\.inc[.\w]*", r"USETMAXREG\.TRY"))


@proves("warp_specialization")
def two_kinds_of_warpgroups(variant):
    copies = [(kernel, instructions(kernel, BULK_COPY, BULK_COPY_SASS)) for kernel in variant.kernels()]
    if not any(bulk for _, bulk in copies):
        raise Inapplicable("no copies by the copy engine")
    for kernel, bulk in copies:
        gives, takes = register_moves(kernel)
        if gives and takes and bulk and instructions(kernel, r"wgmma\.mma_async[.\w]*", "HGMMA"):
            return f"{kernel.short_name}: `{gives[0]}` where it loads, `{takes[0]}` where it multiplies"
    raise Refuted("no kernel in which some warpgroups give up registers and others take them")


# ---- 11 to 14: one kernel ----

# Local memory is off the chip, too. A warp holds 16 rows x 64 keys of scores in 32 registers of each lane.
SCORES_OF_A_LANE_BYTES = 32 * 4


@proves("fusion")
def no_place_for_scores(variant):
    spilled = 0
    for call in variant.calls():
        quote = launched_once_without_workspace(call, len(variant.launches(call)))
        for kernel in variant.kernels(call):
            require(not kernel.arrays,
                    f"{kernel.short_name} uses {', '.join(kernel.arrays)} in global memory")
            spilled = max(spilled, kernel.spilled_bytes)
            require(spilled < SCORES_OF_A_LANE_BYTES,
                    f"{kernel.short_name} spills {spilled} B of registers a lane")
    registers = f"{spilled} B of registers" if spilled else "no register"
    return f"{quote}, no variable in global memory, {registers} spilled"


@proves("fusion")
def reads_inputs_writes_output(variant):
    leave_out_copy_engine(variant)
    call = variant.counted_problem()
    launched_once_without_workspace(call, sum(kernel["launches"] for kernel in call["kernels"]))
    kernel, = call["kernels"]
    head_bytes = 2 * call["head_dim"]
    q = call["heads"] * call["seq_q"] * head_bytes
    kv_of_a_head = 2 * call["seq_kv"] * head_bytes
    loaded, stored = variant.total("global_load_bytes"), variant.total("global_store_bytes")
    require(stored == q, f"{number(stored)} B stored, O is {number(q)}")
    # Q at most once a warp of its block, K and V at most once a block.
    most = q * len(kernel["warps"]) + kernel["blocks"] * kv_of_a_head
    require(loaded <= most,
            f"{number(loaded)} B loaded by {kernel['blocks']} blocks, more than K and V once a block")
    return f"{number(loaded)} B loaded by {kernel['blocks']} blocks, {number(stored)} B stored, which is O"


@proves("cp_async")
def cp_async_instructions(variant):
    return quote_where(variant, r"cp\.async\.c[ag]\.shared\.global[.\w]*", "LDGSTS", "no `cp.async` in PTX")


@proves("cp_async")
def cp_async_counted(variant):
    require(variant.total("cp_async") > 0, "no cp.async ran")
    return f"{number(variant.total('async_bytes'))} B past the registers"


@proves("xor_swizzle")
def no_conflict_and_no_padding(variant):
    row_bytes = 2 * variant.counted_problem()["head_dim"]
    spans = [end - begin for kernel in variant.counts() for kind, _, begin, end in kernel["events"]
             if kind == "ldmatrix"]
    if not spans:
        raise Inapplicable("no ldmatrix, which reads a column of rows at once")
    quote = ideal_wavefronts(variant)
    # 16 rows of a multiple of 128 B each begin in the same bank. Free of conflicts without a gap between
    # them, their chunks must have changed places.
    require(row_bytes % 128 == 0, "rows that begin in different banks by themselves")
    require(max(spans) <= 16 * row_bytes, f"16 rows of {row_bytes} B lie in {max(spans)} B: padded")
    return f"{quote}; 16 rows of {row_bytes} B within {number(max(spans))} B: no padding"


@proves("xor_swizzle")
def swizzled_by_the_copy_engine(variant):
    maps = [event for event in variant.calls()[0]["calls"] if event["call"] == "cuTensorMapEncodeTiled"]
    if not maps:
        raise Inapplicable("no tensor map")
    require(all(event["swizzled"] for event in maps), "a tensor map without a swizzle")
    tensor_copies(variant)
    return f"{len(maps)} tensor map(s) with the 128-byte swizzle"


# ---- 15 and 16: launches ----

@proves("multi_kernel")
def parts_and_their_combination(variant):
    variant.counts()
    reasons = []
    for call in variant.counted:
        if "unsupported" not in call:
            try:
                return f"at {call['shape']}: {parts_combined(call)}"
            except Refuted as reason:
                reasons.append(f"at {call['shape']} {reason}")
    raise Refuted("; ".join(reasons))


def parts_combined(call):
    require([kernel["launches"] for kernel in call["kernels"]] == [1, 1], "not two launches of two kernels")
    parts, combine = (kernel["total"] for kernel in call["kernels"])
    outputs = call["heads"] * call["seq_q"] * call["head_dim"]
    require(combine["mma"] + combine["wgmma"] == 0, "the second launch multiplies on tensor cores")
    for kind, line, begin, end in call["kernels"][1]["events"]:
        for tensor in "kv":
            inside = begin < call[tensor] + call["kv_bytes"] and call[tensor] < end
            require(kind != "global_load" or not inside, f"the second launch reads {tensor.upper()}")
    require(combine["global_store_bytes"] == 2 * outputs, "the second launch does not store O")
    results = parts["global_store_bytes"] / (4 * outputs)
    require(results >= 2, f"the first launch stores {results:.2g} results a row")
    return (f"the first launch stores {int(results)} partial results for each row, the second reads no K or "
            "V and stores O")


@proves("cluster_reduction")
def exchange_in_a_cluster(variant):
    for launch, kernel in zip(variant.launches(), variant.kernels()):
        blocks = [a["blocks"] for a in launch["attributes"] if a["id"] == "clusterDimension"]
        # mapa finds another block's shared memory; one of the others reads or writes there.
        if blocks and blocks[0] > 1 and instructions(kernel, r"mapa[.:\w]*"):
            exchange = instructions(kernel, r"(?:st|ld|red|atom)(?:\.async)?[.\w]*\.shared::cluster[.:\w]*")
            require(exchange, f"{kernel.short_name}: no access to another block's shared memory")
            return f"clusters of {blocks[0]}, `{exchange[0]}` in {kernel.short_name}"
    raise Refuted("no launch of clusters whose blocks know one another")


@proves("programmatic_dependent_launch")
def may_start_early_and_waits(variant):
    for launch, kernel in zip(variant.launches(), variant.kernels()):
        if {"id": "programmaticStreamSerialization", "value": 1} in launch["attributes"]:
            require(instructions(kernel, r"griddepcontrol\.wait", "ACQBULK"),
                    f"{kernel.short_name} may start early and waits for nothing")
            return f"attribute programmaticStreamSerialization, `griddepcontrol.wait` in {kernel.short_name}"
    raise Refuted("no launch has the attribute")


# The harness's own, by what it asks of the runtime.

def captures(variant):
    """(graph, stream, what is asked for in between) of each capture; a launch outside of one is refuted."""
    origin, inside, found = None, [], []
    for event in variant.calls()[0]["calls"]:
        if event["call"] == "cudaStreamBeginCapture":
            origin, inside = event["stream"], []
        elif event["call"] == "cudaStreamEndCapture":
            found.append((event["graph"], origin, inside))
            origin = None
        elif origin is not None:
            inside.append(event)
        else:
            require(event["call"] != "launch", "a launch that no graph has captured")
    return found


@proves("graphs")
def captured_and_replayed(variant):
    found = captures(variant)
    replayed = [event["graph"] for event in variant.calls()[0]["calls"] if event["call"] == "cudaGraphLaunch"]
    require(found and all(graph in replayed for graph, _, _ in found), "no graph is replayed")
    graph, _, events = max(found, key=lambda capture: len(capture[2]))
    nodes = sum(event["call"] == "launch" for event in events)
    return (f"{nodes} kernel nodes captured, replayed {replayed.count(graph)} times, no launch outside of a "
            "capture")


@proves("streams")
def free_to_run_at_once(variant):
    for graph, origin, events in captures(variant):
        # Launches of a stream; what it waits for, as (stream, launches before); the same of an event.
        work, waits, recorded = {}, {}, {}
        for event in events:
            stream = event["stream"]
            if event["call"] == "launch":
                work[stream] = work.get(stream, 0) + 1
            elif event["call"] == "cudaEventRecord":
                recorded[event["event"]] = stream, work.get(stream, 0)
            elif event["call"] == "cudaStreamWaitEvent":
                waits.setdefault(stream, []).append(recorded[event["event"]])
        branches = [stream for stream in work if stream != origin]
        if len(branches) < 2 or origin in work:
            continue
        after = [stream for stream in branches if waits[stream] != [(origin, 0)]]
        require(not after, f"{len(after)} of {len(branches)} streams wait for work on another")
        require(sorted(waits.get(origin, [])) == sorted((stream, work[stream]) for stream in branches),
                "streams that nobody joins")
        return (f"one graph of {len(branches)} branches with {work[branches[0]]} launches each, none of "
                "which waits for another")
    raise Refuted("no graph with several branches")


# ---- 17: Hopper ----

@proves("wgmma")
def wgmma_instructions(variant):
    return quote_where(variant, r"wgmma\.mma_async[.\w]*", "HGMMA", "no `wgmma` in PTX")


@proves("tma")
def tensor_copies(variant):
    return quote_where(variant, BULK_COPY, BULK_COPY_SASS, "no bulk copy to shared memory in PTX")


@proves("setmaxnreg")
def registers_change_hands(variant):
    for kernel in variant.kernels():
        gives, takes = register_moves(kernel)
        if gives and takes:
            return f"`{gives[0]}` and `{takes[0]}` in {kernel.short_name}"
    raise Refuted("no kernel with `setmaxnreg.dec` and `setmaxnreg.inc`")


# ---- 18: tuning by search ----

SEARCH_LOGS = ROOT / "docs" / "results" / "search"
FALSE_SEARCH_LOGS = pathlib.Path(__file__).resolve().parent / "counter_examples"
FEWEST_TRIALS = 32  # of a search
FEWEST_ROUNDS = 3
AS_GOOD_AS_BEST = 1.02


def search_log(variant):
    """Rows of the log that names the variant: what was searched, the source, trials, last rounds."""
    folder = FALSE_SEARCH_LOGS if variant.stage.name == "counter_examples" else SEARCH_LOGS
    for path in sorted(folder.glob("*.jsonl")):
        context, source, rows = log.read_rows(path)
        if (context["stage"], context["variant"]) == (variant.stage.name, variant.name):
            return [context, source, *rows]
    raise Refuted("no log of a search names it")


def counted_trials(rows, search):
    """Those that a search may count: each another program, checked, timed where it was right."""
    trials = [row for row in rows if row.get("search") == search
              and row["verdict"] in ("right", "wrong", "fails")]
    codes = {trial["digest"] for trial in trials}
    require(len(codes) == len(trials), f"{search}: {len(trials)} trials are {len(codes)} programs")
    settings = {json.dumps(trial["settings"], sort_keys=True) for trial in trials}
    require(len(settings) == len(trials), f"{search}: {len(trials)} trials have {len(settings)} settings")
    for trial in trials:
        kernels = trial.get("kernels", [])
        of_code = hashlib.sha256("".join(kernels).encode()).hexdigest()
        require(kernels and trial["digest"] == of_code, f"{search}: a digest that is not of its kernels")
        if trial["verdict"] == "right":
            require(trial.get("median_us", 0) > 0 and math.isfinite(trial.get("max_abs_error", math.nan)),
                    f"{search}: a trial that nobody checked or timed")
        else:
            require(trial.get("why"), f"{search}: a trial is {trial['verdict']}, and nobody says why")
    return trials


def last_rounds(rows):
    """Median microseconds of the programs that were timed once more, by digest."""
    finals = [row for row in rows if "rounds_us" in row]
    require(finals, "the best were not timed again")
    require(min(len(row["rounds_us"]) for row in finals) >= FEWEST_ROUNDS,
            f"fewer than {FEWEST_ROUNDS} last rounds")
    return {row["digest"]: statistics.median(row["rounds_us"]) for row in finals}


@proves("tuned_by_search")
def found_and_logged(variant):
    rows = search_log(variant)
    found, random = (counted_trials(rows, search) for search in ("evolution", "random"))
    require(len(found) >= FEWEST_TRIALS, f"{len(found)} trials")
    require(len(found) == len(random),
            f"{len(found)} trials, and {len(random)} at random to hold them against")
    finals = last_rounds(rows)
    for name, trials in (("evolution", found), ("random", random)):
        right = [trial for trial in trials if trial["verdict"] == "right"]
        require(right and min(right, key=lambda trial: trial["median_us"])["digest"] in finals,
                f"the best of {name} was not timed again")
    source = next((row for row in rows if row.get("search") == "source"), {}).get("digest")
    require(source in finals, "the source that the search began with was not timed again")
    if variant.stage.nvcc and variant.stage.nvcc != f"nvcc {rows[0]['nvcc']}":
        raise Missing(f"the log's machine code is that of nvcc {rows[0]['nvcc']}, this is "
                      f"{variant.stage.nvcc}")
    own = {kernel.digest for kernel in variant.kernels()}
    times = [finals[trial["digest"]] for trial in found + random
             if trial["digest"] in finals and own <= set(trial.get("kernels", []))]
    require(times, "its machine code is none that the searches found and timed again")
    require(times[0] <= AS_GOOD_AS_BEST * min(finals.values()),
            f"it takes {times[0]:.4g} us, the best of the log {min(finals.values()):.4g}")
    require(times[0] < finals[source],
            f"it takes {times[0]:.4g} us, the source before it {finals[source]:.4g}")
    best_random = min(finals[trial["digest"]] for trial in random if trial["digest"] in finals)
    return (f"{len(found)} trials and as many at random, each another machine code; this one's takes "
            f"{times[0]:.3g} us, the source before it {finals[source]:.3g}, the best at random "
            f"{best_random:.3g}")
