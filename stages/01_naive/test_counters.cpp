// What `unfused` costs and why, as the emulated device counts it. Compiled for that device alone.
#include "counting.hpp"

using namespace attention;

TEST_CASE("unfused spreads every request over 32 sectors") {
  const emulator::Counters total = profile_of("unfused", {.heads = 1, .seq_q = 128, .seq_kv = 128}).total;
  // Loads of Q and P and stores of S and O touch one sector per lane, loads of K and V one per warp.
  CHECK(total.global_load_sectors > 7 * total.global_load_sectors_ideal);
  CHECK(total.global_store_sectors == 32 * total.global_store_requests);
}

TEST_CASE("one_pass needs no sector twice in a request") {
  const emulator::Counters total = profile_of("one_pass", {.heads = 1, .seq_q = 128, .seq_kv = 128}).total;
  CHECK(total.global_load_sectors == total.global_load_sectors_ideal);
  CHECK(total.global_store_bytes == 128 * 64 * 2);  // O, and no scores
}
