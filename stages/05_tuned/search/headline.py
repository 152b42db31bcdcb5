"""The headline shape: what `cluster_pdl` could do otherwise, all of it in the code of one block."""

from space import Knob, Space

POLYNOMIAL = "const bool on_fma_units = Idea::kPolynomial && i / 4 % 4 == 0;"

TWO_MAXIMA = """    float largest[4] = {s[half_tile][0], s[half_tile][1], s[half_tile][2], s[half_tile][3]};
#pragma unroll
    for (int i = 4; i < kHalfKeys / 2; ++i) largest[i % 4] = fmaxf(largest[i % 4], s[half_tile][i]);
    for (int i = 0; i < 4; ++i) m_i[i / 2] = fmaxf(m_i[i / 2], largest[i]);
"""
ONE_MAXIMUM = """#pragma unroll
    for (int i = 0; i < kHalfKeys / 2; ++i) m_i[i / 2 % 2] = fmaxf(m_i[i / 2 % 2], s[half_tile][i]);
"""
FOUR_MAXIMA = """    float largest[8];
    for (int i = 0; i < 8; ++i) largest[i] = s[half_tile][i];
#pragma unroll
    for (int i = 8; i < kHalfKeys / 2; ++i) largest[i % 8] = fmaxf(largest[i % 8], s[half_tile][i]);
    for (int i = 0; i < 8; ++i) m_i[i / 2 % 2] = fmaxf(m_i[i / 2 % 2], largest[i]);
"""

TRIGGER = "  if constexpr (Idea::kDependent) griddepcontrol_launch_dependents();\n"


def trigger_before(place):
    return [(TRIGGER, ""), (place, TRIGGER + place)]


PREFETCH = """    prefetch_tensormap(&q_map);
    prefetch_tensormap(&k_map);
    prefetch_tensormap(&v_map);
"""

INITIALISES_Q = "    mbarrier_init(&smem.q_full, 1);\n"
V_SMEM = "  half* v_smem = smem.v[warpgroup];\n"

LOADS_Q = """    mbarrier_arrive_expect_tx(&smem.q_full, kQBytes);
    tma_load(smem.q, &q_map, 0, first_row, head, &smem.q_full);
"""
LOADS_KEYS = """    for (int half_tile = 0; half_tile < 2; ++half_tile) {
      for (int group = 0; group < kWarpgroups; ++group) {
        mbarrier_arrive_expect_tx(&smem.k_full[group][half_tile], kHalfBytes);
"""
KEYS_BY_GROUP = """    for (int group = 0; group < kWarpgroups; ++group) {
      for (int half_tile = 0; half_tile < 2; ++half_tile) {
        mbarrier_arrive_expect_tx(&smem.k_full[group][half_tile], kHalfBytes);
"""
LOADS_VALUES = """    for (int group = 0; group < kWarpgroups; ++group) {
      mbarrier_arrive_expect_tx(&smem.v_full[group], 2 * kHalfBytes);
"""
INITIALISES = """    for (int group = 0; group < kWarpgroups; ++group) {
      for (int half_tile = 0; half_tile < 2; ++half_tile) mbarrier_init(&smem.k_full[group][half_tile], 1);
"""
OWN_GROUP = "for (int group = warpgroup; group <= warpgroup; ++group) {"

OUTPUT_LOOP = """  for (int half_tile = 0; half_tile < 2; ++half_tile) {
#pragma unroll
    for (int i = 0; i < kHalfKeys / 2; i += 2) {
"""
VALUES_WAIT = "    if (half_tile == 0) mbarrier_wait(&smem.v_full[warpgroup], 0);\n"
OUTPUT_PRODUCTS = "    for (int k = 0; k < kHalfKeys / 16; ++k) {\n"

STORE = """    if (!kWhole && row >= p.seq_q) continue;
    half* row_gmem = o_gmem + (size_t(head) * p.seq_q + row) * kHeadDim;
    for (int tile = 0; tile < kKept; ++tile) {
      *reinterpret_cast<std::uint32_t*>(row_gmem + (warpgroup * kKept + tile) * 8 + lane % 4 * 2) =
          pack(kept[tile][2 * r], kept[tile][2 * r + 1]);
    }
"""
STORE_BY_16 = """    std::uint32_t own[kKept];
    for (int tile = 0; tile < kKept; ++tile) own[tile] = pack(kept[tile][2 * r], kept[tile][2 * r + 1]);
    // A quad transposes its 4 x 4 pairs: lane j then has the eight columns of tile j. No index depends on the lane.
    const auto exchange = [&](std::uint32_t& low, std::uint32_t& high, int distance) {
      const bool gives_low = lane % (2 * distance) >= distance;
      const std::uint32_t taken = __shfl_xor_sync(kFullMask, gives_low ? low : high, distance);
      if (gives_low) {
        low = taken;
      } else {
        high = taken;
      }
    };
    exchange(own[0], own[1], 1);
    exchange(own[2], own[3], 1);
    exchange(own[0], own[2], 2);
    exchange(own[1], own[3], 2);
    if (!kWhole && row >= p.seq_q) continue;
    half* row_gmem = o_gmem + (size_t(head) * p.seq_q + row) * kHeadDim;
    *reinterpret_cast<uint4*>(row_gmem + (warpgroup * kKept + lane % 4) * 8) =
        make_uint4(own[0], own[1], own[2], own[3]);
"""

GIVES = """    if (tile / kKept != warpgroup) {
      smem.keys[warpgroup].given[tile][group_thread] =
          make_float4(o[4 * tile], o[4 * tile + 1], o[4 * tile + 2], o[4 * tile + 3]);
    }
"""
TAKES = """    for (int tile = 0; tile < kKept; ++tile) {
      const float4 part = smem.keys[group].given[warpgroup * kKept + tile][group_thread];
      kept[tile][0] = fmaf(part.x, weight[group][0], kept[tile][0]);
      kept[tile][1] = fmaf(part.y, weight[group][0], kept[tile][1]);
      kept[tile][2] = fmaf(part.z, weight[group][1], kept[tile][2]);
      kept[tile][3] = fmaf(part.w, weight[group][1], kept[tile][3]);
    }
"""
# Every warpgroup weighs what it gives, divided by the sum of the block: within FP16 whatever V is.
HALF_GIFTS = [
    (GIVES, """    if (tile / kKept != warpgroup && tile % 2 == 0) {
      float own[2];
#pragma unroll
      for (int group = 0; group < kWarpgroups; ++group) {
        if (group == warpgroup) own[0] = weight[group][0], own[1] = weight[group][1];
      }
      std::uint32_t pairs[4];
      for (int i = 0; i < 4; ++i) {
        pairs[i] = pack(o[4 * tile + 2 * i] * own[i % 2], o[4 * tile + 2 * i + 1] * own[i % 2]);
      }
      smem.keys[warpgroup].given[tile / 2][group_thread] =
          make_float4(__uint_as_float(pairs[0]), __uint_as_float(pairs[1]), __uint_as_float(pairs[2]),
                      __uint_as_float(pairs[3]));
    }
"""),
    (TAKES, """    for (int tile = 0; tile < kKept; tile += 2) {
      const float4 gift = smem.keys[group].given[(warpgroup * kKept + tile) / 2][group_thread];
      const float2 part[4] = {unpack(gift.x), unpack(gift.y), unpack(gift.z), unpack(gift.w)};
      for (int i = 0; i < 4; ++i) {
        kept[tile + i / 2][2 * (i % 2)] += part[i].x;
        kept[tile + i / 2][2 * (i % 2) + 1] += part[i].y;
      }
    }
"""),
    ("  if (sends || kClusterSize == 1) {\n", "  {\n"),
    ("own_weight[r] = ex2_approx(block.m[r] - m);", "own_weight[r] = ex2_approx(block.m[r] - m) * block.l[r];"),
    ("fmaf(own_weight[r], block.l[r], other_weight[r])", "own_weight[r] + other_weight[r]")]


def products_by(parts):
    """PV as soon as so many parts of P are there, one after the other; the source has two."""
    of_half = parts // 2
    return [(OUTPUT_LOOP, f"""  for (int part = 0; part < {parts}; ++part) {{
    const int half_tile = part / {of_half}, within = part % {of_half};
#pragma unroll
    for (int i = within * kHalfKeys / {2 * of_half}; i < (within + 1) * kHalfKeys / {2 * of_half}; i += 2) {{
"""),
            (VALUES_WAIT, VALUES_WAIT.replace("half_tile", "part")),
            (OUTPUT_PRODUCTS, f"    for (int k = within * kHalfKeys / {16 * of_half}; "
                              f"k < (within + 1) * kHalfKeys / {16 * of_half}; ++k) {{\n")]


ONE_BLOCK = [
    ("kBlocksOfAnSm = Idea::kDependent ? 2 : 1;", "kBlocksOfAnSm = 1;"),
    ("sizeof(Smem<kWarpgroups>), stream", "std::max(sizeof(Smem<kWarpgroups>), std::size_t(120 * 1024)), stream"),
    ("    blocks = std::max(blocks, unsigned(sms) / Idea::kClusterSize * Idea::kClusterSize);\n", ""),
    ("  if (Idea::kDependent && head >= p.batch * p.heads) {", "  if constexpr (false) {")]


SPACE = Space(
    stage="05_tuned",
    source="kernel_wgmma.cu",
    variant="cluster_pdl",
    leave_out=[(r"launch_headline<(Wgmma|Cluster|ExpPoly)>\(p", "launch_headline<ClusterPdl>(p")],
    shape="",
    checked=["--seq-q 128 --seq-kv 512 --heads 3 --scale 2", "--seq-q 70 --seq-kv 500 --heads 3 --scale -0.5",
             "--seq-q 200 --seq-kv 300 --heads 4 --kv-heads 2 --causal"],
    knobs=[
        Knob("exponentials on the FMA units", {
            "1 in 8": [],
            "none": [(POLYNOMIAL, POLYNOMIAL.replace("i / 4 % 4 == 0", "false"))],
            "1 in 16": [(POLYNOMIAL, POLYNOMIAL.replace("% 4 ==", "% 8 =="))],
            "1 in 4": [(POLYNOMIAL, POLYNOMIAL.replace("% 4 ==", "% 2 =="))],
            "3 in 8": [(POLYNOMIAL, POLYNOMIAL.replace("== 0", "!= 0"))],
            "1 in 2": [(POLYNOMIAL, POLYNOMIAL.replace("i / 4 % 4 == 0", "true"))]}),
        Knob("maxima a row, before they are joined", {
            "2": [], "1": [(TWO_MAXIMA, ONE_MAXIMUM)], "4": [(TWO_MAXIMA, FOUR_MAXIMA)]}),
        Knob("sums a row, before they are joined", {
            "1": [],
            "2": [("float l_i[2] = {0.f, 0.f};", "float l_i[2] = {0.f, 0.f}, l_other[2] = {0.f, 0.f};"),
                  ("l_i[r] += low + high;", "(i / 4 % 2 == 0 ? l_i : l_other)[r] += low + high;"),
                  ("warp_reduce_sum<4>(l_i[r])", "warp_reduce_sum<4>(l_i[r] + l_other[r])")]}),
        Knob("the next launch may begin", {
            "behind the requests": [],
            "at once": trigger_before("  half* k_smem = smem.keys[warpgroup].k;\n"),
            "behind the scores": trigger_before("  float m_i[2] = {-INFINITY, -INFINITY};\n"),
            "behind the exponentials": trigger_before("  // While the last products run:")}),
        Knob("tensor maps are prefetched", {
            "not": [],
            "by the thread that asks": [(INITIALISES_Q, PREFETCH + INITIALISES_Q)],
            "by another warp": [(V_SMEM, f"{V_SMEM}  if (threadIdx.x == 64) {{\n{PREFETCH}  }}\n")]}),
        Knob("who asks for tiles, in which order", {
            "one thread: Q, K by halves, V": [],
            "one thread: K by halves, Q, V": [(LOADS_Q, ""), (LOADS_VALUES, LOADS_Q + LOADS_VALUES)],
            "one thread: Q, K of one warpgroup after the other, V": [(LOADS_KEYS, KEYS_BY_GROUP)],
            "one thread: Q, K and V of one warpgroup after the other": [
                (LOADS_KEYS, KEYS_BY_GROUP),
                ("      }\n    }\n" + LOADS_VALUES, "      }\n" + LOADS_VALUES.split("\n", 1)[1])],
            "a thread of each warpgroup its own": [
                ("  // [load]\n  if (threadIdx.x == 0) {", "  // [load]\n  if (group_thread == 0) {"),
                (INITIALISES, INITIALISES.replace("for (int group = 0; group < kWarpgroups; ++group) {", OWN_GROUP)),
                (LOADS_KEYS, LOADS_KEYS.replace("for (int group = 0; group < kWarpgroups; ++group) {", OWN_GROUP)),
                (LOADS_VALUES, LOADS_VALUES.replace("for (int group = 0; group < kWarpgroups; ++group) {", OWN_GROUP)),
                ("mbarrier_init(&smem.q_full, 1);", "if (warpgroup == 0) mbarrier_init(&smem.q_full, 1);"),
                ("    mbarrier_init(&smem.received_full, 1);\n    mbarrier_init(&smem.received_stats_full, 1);\n",
                 "    if (warpgroup == 0) mbarrier_init(&smem.received_full, 1);\n"
                 "    if (warpgroup == 0) mbarrier_init(&smem.received_stats_full, 1);\n"),
                ("    if constexpr (kClusterSize > 1) {\n      mbarrier_arrive_expect_tx(&smem.received_full",
                 "    if (warpgroup == 0) {\n      mbarrier_arrive_expect_tx(&smem.received_full"),
                (LOADS_Q, f"    if (warpgroup == 0) {{\n{LOADS_Q}    }}\n")]}),
        Knob("maxima begin", {
            "with half of the scores": [],
            "with all of them": [("wgmma_wait_group<1>(s[0]);", "wgmma_wait_group<0>(s[0], s[1]);"),
                                 ("  wgmma_wait_group<0>(s[1]);\n", "")]}),
        Knob("products with V begin", {
            "with half of P": [],
            "with all of it": [(VALUES_WAIT, "  }\n  mbarrier_wait(&smem.v_full[warpgroup], 0);\n#pragma unroll\n"
                                             "  for (int half_tile = 0; half_tile < 2; ++half_tile) {\n")],
            "with a quarter": products_by(4),
            "with an eighth": products_by(8)}),
        Knob("a warpgroup gives another its results in", {"FP32": [], "FP16": HALF_GIFTS}),
        Knob("the other block's barriers are waited for", {
            "before the merge": [],
            "behind the scores": [("  if constexpr (kClusterSize > 1) cluster_wait();\n", ""),
                                  ("  float m_i[2] = {-INFINITY, -INFINITY};\n",
                                   "  if constexpr (kClusterSize > 1) cluster_wait();\n"
                                   "  float m_i[2] = {-INFINITY, -INFINITY};\n")]}),
        Knob("a lane stores", {"4 bytes": [], "16 bytes": [(STORE, STORE_BY_16)]}),
        Knob("an SM has room for", {"two, and none is left without": [], "one block": ONE_BLOCK}),
    ])
