"""Rows of some thousand keys at head_dim 64: tiles and instruction order of `persistent`."""

import pathlib

from space import Knob, Space

KERNEL_WGMMA = (pathlib.Path(__file__).resolve().parents[1] / "kernel_wgmma.cu").read_text()
EXP2_POLYNOMIAL = KERNEL_WGMMA.split("// [polynomial]\n")[1]

REGISTERS = "constexpr int kConsumerRegisters = 160, kProducerRegisters = 32;\n" \
            "static_assert(3 * kConsumerRegisters + kProducerRegisters <= 512);\n"
# Consumer warpgroups -> registers a thread.
CONSUMER_REGISTERS = {2: 240, 3: 160, 4: 112}


def tile(groups, block_kv):
    producer = 24 if groups == 2 else 32
    return [("Tile<64, 3, 128,", f"Tile<64, {groups}, {block_kv},"),
            (REGISTERS, f"constexpr int kConsumerRegisters = {CONSUMER_REGISTERS[groups]}, "
                        f"kProducerRegisters = {producer};\n")]


def stages(count):
    return [(" 3>, Tile<128, 3, 80, 2>>", f" {count}>, Tile<128, 3, 80, 2>>")]


LARGEST = """    largest[h] = fmaxf(s[2 * h], s[2 * h + 1]);
#pragma unroll
    for (int j = 4; j < T::kBlockKv / 2; j += 4) {
      largest[h] = fmaxf(largest[h], fmaxf(s[j + 2 * h], s[j + 2 * h + 1]));
    }
"""


def maxima(chains):
    """Shorter chains of instructions that wait for one another."""
    return [(LARGEST, f"""    float part[{chains}];
#pragma unroll
    for (int j = 0; j < T::kBlockKv / 2; j += 4) {{
      const float pair = fmaxf(s[j + 2 * h], s[j + 2 * h + 1]);
      part[j / 4 % {chains}] = j / 4 < {chains} ? pair : fmaxf(part[j / 4 % {chains}], pair);
    }}
    largest[h] = part[0];
    for (int c = 1; c < {chains}; ++c) largest[h] = fmaxf(largest[h], part[c]);
""")]


ROW_LOOP = """#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float shift = rows.m_i[h] * exponent_scale;
"""
SUMS = """      rows.l_i[h] += s[j] + s[j + 1];
    }
  }
"""
SOFTMAX_BEGINS = "                                             float exponent_scale) {\n"
PRODUCT = """      wait_v(n);
      start_output<T>(o, p_frag, smem.v[n % T::kStages]);
      pass_turn();
"""


SECOND = "ex2_approx(fmaf(s[j + 1], exponent_scale, -shift));"


def polynomial(one_in):
    """The second of `one_in` / 2 neighbouring pairs on the FMA units, as kernel_wgmma.cu does it."""
    return [("// Scores become exponentials.\n", EXP2_POLYNOMIAL + "// Scores become exponentials.\n"),
            (SECOND, f"j / 4 % {one_in // 2} == 0 ? {SECOND[:-1].replace('ex2_approx', 'exp2_polynomial')} : {SECOND}")]


SPACE = Space(
    stage="05_tuned",
    source="kernel_long.cu",
    variant="persistent",
    leave_out=[(r"launch_long<\w+>\(p", "launch_long<Persistent>(p"),
               (r"launch_tile<Idea, LongTile<128>>", "launch_tile<Idea, LongTile<64>>")],
    shape="--heads 48 --seq-q 2048",
    checked=["--heads 140 --seq-q 70 --seq-kv 100", "--heads 2 --kv-heads 1 --seq-q 500 --seq-kv 900 --causal",
             "--heads 1 --seq-q 70 --seq-kv 1100 --scale -0.5"],
    knobs=[
        Knob("warpgroups x keys of a tile", {
            "3 x 128": [], "3 x 80": tile(3, 80), "3 x 64": tile(3, 64), "2 x 128": tile(2, 128),
            "2 x 192": tile(2, 192), "4 x 64": tile(4, 64), "4 x 80": tile(4, 80)}),
        Knob("tiles in the ring", {"3": [], "2": stages(2), "4": stages(4)}),
        Knob("maxima a row, before they are joined", {"1": [], "2": maxima(2), "4": maxima(4)}),
        Knob("exponentials", {
            "of one row, then of the other": [],
            "of both rows in turn": [
                (ROW_LOOP, "  {\n"),
                ("    for (int j = 2 * h; j < T::kBlockKv / 2; j += 4) {\n",
                 "    for (int j = 0; j < T::kBlockKv / 2; j += 2) {\n"
                 "      const int h = j / 2 % 2;\n"
                 "      const float shift = rows.m_i[h] * exponent_scale;\n")]}),
        Knob("sums a row, before they are joined", {
            "1": [],
            "2": [(SOFTMAX_BEGINS, SOFTMAX_BEGINS + "  float l_other[2] = {0.f, 0.f};\n"),
                  (SUMS, SUMS.replace("rows.l_i[h]", "(j / 4 % 2 == 0 ? rows.l_i : l_other)[h]") +
                   "  for (int h = 0; h < 2; ++h) rows.l_i[h] += l_other[h];\n")]}),
        Knob("P is packed", {
            "behind the product before it": [],
            "while that runs": [
                ("        if (rows.l_i[0] + rows.l_i[1] < 0.f) __syncwarp();\n",
                 "        to_half<T>(p_next, s);\n"
                 "        if (rows.l_i[0] + rows.l_i[1] < 0.f) __syncwarp();\n"),
                ("      const bool raised = softmax(tile);\n",
                 "      const bool raised = softmax(tile);\n      std::uint32_t p_next[T::kBlockKv / 16][4];\n"),
                ("      to_half<T>(p_frag, s);\n      ++n;\n",
                 "#pragma unroll\n      for (int k = 0; k < T::kBlockKv / 4; ++k) p_frag[k / 4][k % 4] = "
                 "p_next[k / 4][k % 4];\n      ++n;\n")]}),
        Knob("exponentials on the FMA units", {
            "none": [], "1 in 16": polynomial(16), "1 in 8": polynomial(8), "1 in 4": polynomial(4)}),
        Knob("the turn is passed", {
            "behind PV": [],
            "between QK^T and PV": [
                (PRODUCT, "      pass_turn();\n" + PRODUCT.replace("      pass_turn();\n", ""))]}),
    ])
