"""The headline shape once more: what `lazy_max` could do otherwise.

Not exponentials on the FMA units: the cubic of kernel_wgmma.cu is made for exponents that are not above zero. Far
above, it gives numbers in place of infinity, and no sum tells.
"""

from space import Knob, Space

BEHIND_MAXIMUM = "  if constexpr (Idea::kLazy) scores(1);\n"
FIRST_MAXIMUM = "  wgmma_wait_group<Idea::kLazy ? 0 : 1>(s[0]);\n"

WARPS = "  const int warpgroup = block_warp / kGroupWarps, warp = block_warp % kGroupWarps;\n"
WARPS_BY_THREAD = \
    "  const int warpgroup = threadIdx.x / kGroupThreads, warp = threadIdx.x % kGroupThreads / 32;\n"

LOADS_KEYS = """      for (int group = 0; group < kWarpgroups; ++group) {
        for (int half_tile = 0; half_tile < 2; ++half_tile) {
          tma_load(smem.k[group]"""
KEYS_BY_HALVES = """      for (int half_tile = 0; half_tile < 2; ++half_tile) {
        for (int group = 0; group < kWarpgroups; ++group) {
          tma_load(smem.k[group]"""

TRIGGER = "  griddepcontrol_launch_dependents();\n  __syncthreads();"
CLUSTER_WAIT = "  cluster_wait();\n"
EXCHANGE_BEGINS = "  // Maxima and sums go ahead, while the last products run:"

OWN_STATS = """  if (lane % 4 == 0) {
    smem.mail[sibling][warp].stats[member][quad] = {{m_i[0], m_i[1]}, {l_i[0], l_i[1]}};
  }
"""
BEHIND_STATS = "  __syncwarp();\n  if (lane == 0) mbarrier_arrive(&smem.stats_full[sibling][warp]);\n"
OWN_PART = "    smem.mail[sibling][warp].parts[kOwn][lane] = part_for(kOwn ^ 1);\n"
OTHERS_PARTS = "    constexpr int kOwn = decltype(own_constant)::value;\n"
INVERSE = "  float inverse[2];\n"
BEHIND_PRODUCTS = "  wgmma_wait_group<0>(o);\n" + INVERSE
WEIGHED = "\n  // What member"

STORE = """    // 8 bytes a lane: neighbours swap a pair, even lanes then have four columns of the first tile, odd ones
    // of the second.
    std::uint32_t low = pack(kept[0][2 * r], kept[0][2 * r + 1]);
    std::uint32_t high = pack(kept[1][2 * r], kept[1][2 * r + 1]);
    const std::uint32_t taken = __shfl_xor_sync(kFullMask, lane % 2 == 0 ? high : low, 1);
    if (lane % 2 == 0) {
      high = taken;
    } else {
      low = taken;
    }
    if (!kWhole && row >= p.seq_q) continue;
    half* row_gmem = o_gmem + (size_t(head) * p.seq_q + row) * kHeadDim;
    const int column = (member * kKept + lane % 2) * 8 + lane % 4 / 2 * 4;
    *reinterpret_cast<uint2*>(row_gmem + column) = make_uint2(low, high);
"""
STORE_BY_4 = """    if (!kWhole && row >= p.seq_q) continue;
    half* row_gmem = o_gmem + (size_t(head) * p.seq_q + row) * kHeadDim;
    for (int tile = 0; tile < kKept; ++tile) {
      *reinterpret_cast<std::uint32_t*>(row_gmem + (member * kKept + tile) * 8 + lane % 4 * 2) =
          pack(kept[tile][2 * r], kept[tile][2 * r + 1]);
    }
"""

EXPONENTIALS = """  const auto exponentials = [&](int half_tile) {
#pragma unroll
    for (int i = 0; i < kHalfKeys / 2; i += 2) {
"""
EXPONENTIALS_OF_PART = """  const auto exponentials = [&](int half_tile, int from = 0, int to = kHalfKeys) {
#pragma unroll
    for (int i = from / 2; i < to / 2; i += 2) {
"""
PRODUCTS = """  const auto products = [&](int half_tile) {
    wgmma_fence();
    for (int k = 0; k < kHalfKeys / 16; ++k) {
"""
PRODUCTS_OF_PART = """  const auto products = [&](int half_tile, int from = 0, int to = kHalfKeys) {
    wgmma_fence();
    for (int k = from / 16; k < to / 16; ++k) {
"""
SECOND_HALF = """  exponentials(1);
  if constexpr (Idea::kLazy) {
    wgmma_wait_group<0>(o);  // they are long done, and O may be multiplied here
    if (surpassed()) {
      float factor[2];
      raise_maximum(1, factor);
      for (int r = 0; r < 2; ++r) l_i[r] = l_first[r] * factor[r];
#pragma unroll
      for (int i = 0; i < kHeadDim / 2; ++i) o[i] *= factor[i / 2 % 2];
      exponentials(1);
    }
  }
  products(1);
"""


def last_products_by(*ends):
    """The second half's PV in parts, each as soon as the exponentials of so many of its keys are there."""
    parts = "".join(f"  last_part(std::integral_constant<int, {start}>(), std::integral_constant<int, {end}>());\n"
                    for start, end in zip((0, *ends), ends))
    return [(EXPONENTIALS, EXPONENTIALS_OF_PART), (PRODUCTS, PRODUCTS_OF_PART),
            ("  const float l_first[2] = {l_i[0], l_i[1]};\n", ""),
            (SECOND_HALF, f"""  const auto last_part = [&](auto start, auto end) {{
    const float l_before[2] = {{l_i[0], l_i[1]}};
    exponentials(1, start, end);
    wgmma_wait_group<0>(o);
    if (surpassed()) {{
      float factor[2];
      raise_maximum(1, factor);
      for (int r = 0; r < 2; ++r) l_i[r] = l_before[r] * factor[r];
#pragma unroll
      for (int i = 0; i < kHeadDim / 2; ++i) o[i] *= factor[i / 2 % 2];
      exponentials(1, start, end);
    }}
    products(1, start, end);
  }};
{parts}""")]


SPACE = Space(
    stage="05_tuned",
    source="kernel_exchange.cu",
    variant="lazy_max",
    leave_out=[(r"launch_exchange<Exchange>\(p", "launch_exchange<LazyMax>(p")],
    shape="",
    checked=["--seq-q 128 --seq-kv 512 --heads 3 --scale 8", "--seq-q 70 --seq-kv 500 --heads 3 --scale -0.5",
             "--seq-q 200 --seq-kv 300 --heads 4 --kv-heads 2 --causal --scale 8"],
    knobs=[
        Knob("keys of the first maximum", {
            "16": [],
            **{str(keys): [("kFirstKeys = 16;", f"kFirstKeys = {keys};")] for keys in (8, 32, 64)}}),
        Knob("the second half's products begin", {
            "behind the first maximum": [],
            "at once": [("  if constexpr (!Idea::kLazy) scores(1);\n", "  scores(1);\n"),
                        (FIRST_MAXIMUM, "  wgmma_wait_group<1>(s[0]);\n"), (BEHIND_MAXIMUM, "")]}),
        Knob("the last products begin with", {
            "64 keys": [],
            "32 of them": last_products_by(32, 64),
            "48 of them": last_products_by(48, 64),
            "32, then 16": last_products_by(32, 48, 64)}),
        Knob("a warp's number is", {
            "the same in all lanes, and known to be": [],
            "worked out by each": [
                (WARPS, WARPS_BY_THREAD),
                ("int(rank) * kWarpgroups + warpgroup;", "int(rank) * kWarpgroups + block_warp / kGroupWarps;")]}),
        Knob("tiles are asked for in the order", {
            "Q, K of one warpgroup after the other, V": [],
            "Q, K by halves, V": [(LOADS_KEYS, KEYS_BY_HALVES)]}),
        Knob("tiles are asked for by", {
            "the last warp": [],
            "the first warp": [("block_warp == kThreads / 32 - 1", "block_warp == 0")]}),
        Knob("the next launch may begin", {
            "behind the requests": [],
            "before them": [(TRIGGER, "  __syncthreads();"),
                            ("  if (block_warp == 0 && elect_sync()) {\n",
                             "  griddepcontrol_launch_dependents();\n  if (block_warp == 0 && elect_sync()) {\n")]}),
        Knob("the other block's barriers are waited for", {
            "before the launch before has ended": [],
            "before the exchange": [(CLUSTER_WAIT, ""), (EXCHANGE_BEGINS, CLUSTER_WAIT + EXCHANGE_BEGINS)]}),
        Knob("until tiles come all wait at", {
            "a barrier of the block": [],
            "the tiles' barriers": [(TRIGGER.split("\n")[1] + "  // cheaper", "  // cheaper")]}),
        Knob("sums go first", {
            "to the same block": [],
            "to the other": [(OWN_STATS, ""), (BEHIND_STATS, OWN_STATS + BEHIND_STATS)]}),
        Knob("parts go first", {
            "to the other block": [],
            "to the same": [(OWN_PART, ""), (OTHERS_PARTS, OTHERS_PARTS + OWN_PART)]}),
        Knob("what a part is divided by is worked out", {
            "behind the last products": [],
            "beside them": [(BEHIND_PRODUCTS, INVERSE), (WEIGHED, "  wgmma_wait_group<0>(o);\n" + WEIGHED)]}),
        Knob("a lane stores", {"8 bytes": [], "4 bytes": [(STORE, STORE_BY_4)]}),
    ])
