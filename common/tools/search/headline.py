"""The headline shape: what `cluster_pdl` could do otherwise, all of it in the code of one block."""

from .space import Knob, Space

SPACE = Space(
    name="headline",
    variant="cluster_pdl",
    shape="",
    checked=("--seq-q 128 --seq-kv 512 --heads 3 --scale 2",
             "--seq-q 70 --seq-kv 500 --heads 3 --scale -0.5",
             "--seq-q 200 --seq-kv 300 --heads 4 --kv-heads 2 --causal"),
    knobs=(
        Knob("exponentials on the FMA units", ("1 in 8", "none", "1 in 16", "1 in 4", "3 in 8", "1 in 2")),
        Knob("maxima a row, before they are joined", ("2", "1", "4")),
        Knob("sums a row, before they are joined", ("1", "2")),
        Knob("the next launch may begin", (
            "behind the requests", "at once", "behind the scores", "behind the exponentials")),
        Knob("tensor maps are prefetched", ("not", "by the thread that asks", "by another warp")),
        Knob("who asks for tiles, in which order", (
            "one thread: Q, K by halves, V", "one thread: K by halves, Q, V",
            "one thread: Q, K of one warpgroup after the other, V",
            "one thread: Q, K and V of one warpgroup after the other", "a thread of each warpgroup its own")),
        Knob("maxima begin", ("with half of the scores", "with all of them")),
        Knob("products with V begin", (
            "with half of P", "with all of it", "with a quarter", "with an eighth")),
        Knob("a warpgroup gives another its results in", ("FP32", "FP16")),
        Knob("the other block's barriers are waited for", ("before the merge", "behind the scores")),
        Knob("a lane stores", ("4 bytes", "16 bytes")),
        Knob("an SM has room for", ("two, and none is left without", "one block")),
    ))
