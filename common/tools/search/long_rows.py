"""Rows of some thousand keys at head_dim 64: tiles and instruction order of `persistent`."""

from .space import Knob, Space

SPACE = Space(
    name="long_rows",
    variant="persistent",
    shape="--heads 48 --seq-q 2048",
    checked=("--heads 140 --seq-q 70 --seq-kv 100",
             "--heads 2 --kv-heads 1 --seq-q 500 --seq-kv 900 --causal",
             "--heads 1 --seq-q 70 --seq-kv 1100 --scale -0.5"),
    knobs=(
        Knob("warpgroups x keys of a tile", (
            "3 x 128", "3 x 80", "3 x 64", "2 x 128", "2 x 192", "4 x 64", "4 x 80")),
        Knob("tiles in the ring", ("3", "2", "4")),
        Knob("maxima a row, before they are joined", ("1", "2", "4")),
        Knob("exponentials", ("of one row, then of the other", "of both rows in turn")),
        Knob("sums a row, before they are joined", ("1", "2")),
        Knob("P is packed", ("behind the product before it", "while that runs")),
        Knob("exponentials on the FMA units", ("none", "1 in 16", "1 in 8", "1 in 4")),
        Knob("the turn is passed", ("behind PV", "between QK^T and PV")),
    ))
