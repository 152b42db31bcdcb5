"""The headline shape once more: what `lazy_max` could do otherwise.

Not exponentials on the FMA units: the cubic of `cluster_pdl` is made for exponents that are not above zero.
Far above, it gives numbers in place of infinity, and no sum tells.
"""

from .space import Knob, Space

SPACE = Space(
    name="lazy_max",
    variant="lazy_max",
    shape="",
    checked=("--seq-q 128 --seq-kv 512 --heads 3 --scale 8",
             "--seq-q 70 --seq-kv 500 --heads 3 --scale -0.5",
             "--seq-q 200 --seq-kv 300 --heads 4 --kv-heads 2 --causal --scale 8"),
    knobs=(
        Knob("keys of the first maximum", ("16", "8", "32", "64")),
        Knob("the second half's products begin", ("behind the first maximum", "at once")),
        Knob("the last products begin with", ("64 keys", "32 of them", "48 of them", "32, then 16")),
        Knob("a warp's number is", ("the same in all lanes, and known to be", "worked out by each")),
        Knob("tiles are asked for in the order", (
            "Q, K of one warpgroup after the other, V", "Q, K by halves, V")),
        Knob("tiles are asked for by", ("the last warp", "the first warp")),
        Knob("the next launch may begin", ("behind the requests", "before them")),
        Knob("the other block's barriers are waited for", (
            "before the launch before has ended", "before the exchange")),
        Knob("until tiles come all wait at", ("a barrier of the block", "the tiles' barriers")),
        Knob("sums go first", ("to the same block", "to the other")),
        Knob("parts go first", ("to the other block", "to the same")),
        Knob("what a part is divided by is worked out", ("behind the last products", "beside them")),
        Knob("a lane stores", ("8 bytes", "4 bytes")),
    ))
