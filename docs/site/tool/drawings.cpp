// book_drawings FOLDER: writes the book's drawings, figure_<name>.html, each an SVG whose colours are classes
// of book.css. Positions and colours of everything that stands for memory or a fragment come from
// layouts.hpp.
#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <vector>

#include "layouts.hpp"
#include "text.hpp"

namespace book {
namespace {

class Drawing {
 public:
  Drawing(double width, double height, const std::string& title)
      : width_(width), height_(height), title_(title) {}

  void rect(double x, double y, double w, double h, const std::string& classes,
            const std::string& hover = "") {
    body_ += fmt::format(
        "<rect x=\"{:.5g}\" y=\"{:.5g}\" width=\"{:.5g}\" height=\"{:.5g}\" rx=\"2\" "
        "class=\"{}\">{}</rect>\n",
        x, y, w, h, classes, hover.empty() ? "" : fmt::format("<title>{}</title>", escaped(hover)));
  }
  void text(double x, double y, const std::string& words, double size = 13,
            const std::string& anchor = "middle", const std::string& classes = "") {
    body_ += fmt::format(
        "<text x=\"{:.5g}\" y=\"{:.5g}\" font-size=\"{:.5g}\" text-anchor=\"{}\"{}>{}</text>\n", x, y, size,
        anchor, classes.empty() ? "" : fmt::format(" class=\"{}\"", classes), escaped(words));
  }
  // A box with a line of words in its middle, and a smaller one below.
  void box(double x, double y, double w, double h, const std::string& words, const std::string& below = "",
           const std::string& classes = "box") {
    rect(x, y, w, h, classes);
    text(x + w / 2, y + h / 2 + (below.empty() ? 5 : -2), words);
    if (!below.empty()) text(x + w / 2, y + h / 2 + 15, below, 11, "middle", "small");
  }
  void arrow(double x1, double y1, double x2, double y2) {
    body_ += fmt::format(
        "<line x1=\"{:.5g}\" y1=\"{:.5g}\" x2=\"{:.5g}\" y2=\"{:.5g}\" class=\"edge\" "
        "marker-end=\"url(#tip-{})\"/>\n",
        x1, y1, x2, y2, mark_);
  }

  void save(const std::filesystem::path& folder, const std::string& name, const std::string& caption) {
    const std::string svg = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.5g} {1:.5g}\" width=\"{0:.5g}\" "
        "role=\"img\" "
        "aria-label=\"{2}\">\n<defs><marker id=\"tip-{3}\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" "
        "markerWidth=\"7\" "
        "markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0 8 4 0 8z\" "
        "class=\"tip\"/></marker></defs>\n{4}</svg>",
        width_, height_, escaped(title_), name, replaced(body_, "tip-" + mark_, "tip-" + name));
    write_file(folder / fmt::format("figure_{}.html", name),
               fmt::format("<figure id=\"figure_{}\"><div class=\"scroll\" tabindex=\"0\">{}</div>\n"
                           "<figcaption>{}</figcaption></figure>\n",
                           name, svg, caption));
  }

 private:
  double width_, height_;
  std::string title_, body_;
  const std::string mark_ = "@";
};

std::string colour(int i, const std::string& more = " soft") {
  return fmt::format("c{}{}", i % 8, more);
}

void hierarchy(const std::filesystem::path& folder) {
  Drawing d(760, 330, "An SM with its warps, registers and shared memory; L2 and device memory below");
  d.rect(20, 14, 460, 200, "box");
  d.text(36, 36, "one SM (132 of them on an H200)", 13, "start");
  for (int i = 0; i < 4; ++i) {
    d.box(36 + 108 * i, 50, 98, 64, "scheduler", "up to 16 warps", colour(i));
  }
  d.box(36, 122, 422, 34, "registers: 65,536 of 32 bits, each owned by one thread");
  d.box(36, 164, 422, 38, "shared memory and L1: 256 KB, shared by the blocks that run here");
  d.box(500, 14, 240, 92, "SM", "its own registers and shared memory");
  d.box(500, 118, 240, 96, "SM", "... and so on");
  d.box(20, 240, 720, 34, "L2 cache: 60 MB, for all SMs, in sectors of 32 bytes");
  d.box(20, 286, 720, 34, "device memory (HBM): what cudaMalloc gives");
  d.arrow(250, 216, 250, 238);
  d.arrow(620, 216, 620, 238);
  d.arrow(380, 275, 380, 285);
  d.save(folder, "hierarchy",
         "Where a number can be. Each step down is larger, further away and shared by more threads. A "
         "scheduler issues one instruction of one of its warps per clock.");
}

// Sectors that one request of a warp touches when lane i reads `bytes` bytes at i * stride.
int sectors(long stride, int bytes) {
  std::set<long> touched;
  for (long lane = 0; lane < 32; ++lane) {
    for (long byte = 0; byte < bytes; byte += 2) touched.insert(sector_of(lane * stride + byte));
  }
  return int(touched.size());
}

void coalescing(const std::filesystem::path& folder) {
  Drawing d(760, 250, "A warp reads one element per lane: a row apart, or neighbours");
  const auto panel = [&](double y, long stride, const std::string& words) {
    d.text(20, y, words, 13, "start");
    for (int lane = 0; lane < 32; ++lane)
      d.rect(20 + 22.5 * lane, y + 12, 18, 16, colour(lane / 4), fmt::format("lane {}", lane));
    const int shown = 32;
    for (int sector = 0; sector < shown; ++sector) {
      bool touched = false;
      int first_lane = 0;
      for (int lane = 31; lane >= 0; --lane) {
        if (sector_of(lane * stride) == (stride > 32 ? sector * (stride / 32) : sector))
          touched = true, first_lane = lane;
      }
      d.rect(20 + 22.5 * sector, y + 62, 21, 22, touched ? colour(first_lane / 4) : "box",
             touched ? "a sector of 32 bytes that the request touches" : "a sector that it does not touch");
      if (touched) d.arrow(29 + 22.5 * first_lane, y + 29, 30.5 + 22.5 * sector, y + 60);
    }
  };
  panel(20, 128, fmt::format("a row of 128 bytes apart: {} sectors for 64 bytes", sectors(128, 2)));
  panel(142, 2, fmt::format("neighbours: {} sectors for the same 64 bytes", sectors(2, 2)));
  d.save(folder, "coalescing",
         "One load instruction of a warp, 2 bytes per lane. Above, neighbouring lanes are a row of Q apart"
         " (head_dim 64), and each needs a sector of its own (the boxes are one sector of each row). "
         "Below, they are neighbours in a row.");
}

void tiles(const std::filesystem::path& folder) {
  Drawing d(760, 400, "A tile of scores from a tile of Q and a tile of K");
  const double x = 260, y = 110, cell = 26;
  for (int row = 0; row < 8; ++row) {
    for (int key = 0; key < 8; ++key) {
      d.rect(x + key * 34, y + row * 34, 32, 32,
             row == 2   ? (key == 5 ? "c1" : "c0 soft")
             : key == 5 ? "c2 soft"
                        : "box");
    }
  }
  for (int row = 0; row < 8; ++row) d.rect(x - 150, y + row * 34, 130, 32, row == 2 ? "c0 soft" : "box");
  for (int key = 0; key < 8; ++key) d.rect(x + key * 34, y - 84, 32, 70, key == 5 ? "c2 soft" : "box");
  d.text(x - 85, y + 84 + 5, "64 rows of Q", 12);
  d.text(x + 136, y - 92, "K, transposed: a tile of 64 keys is a column of tiles", 12);
  d.text(x + 136, y + 8 * 34 + 18, "S: 512 rows x 512 keys of a head, in tiles of 64 x 64", 12);
  d.text(x + 300, y + 84, "one block: this tile", 12, "start");
  d.text(x + 300, y + 102, "reads 8 KB of Q", 12, "start", "small");
  d.text(x + 300, y + 118, "and 8 KB of K once,", 12, "start", "small");
  d.text(x + 300, y + 134, "computes 4096 scores", 12, "start", "small");
  (void)cell;
  d.arrow(x + 296, y + 80, x + 5 * 34 + 34, y + 84);
  d.save(folder, "tiles",
         "What tiling buys. Each score needs a row of Q and a row of K. A block that computes 64 x 64 of "
         "them brings 64 rows of each into shared memory once and uses every row 64 times.");
}

void banks(const std::filesystem::path& folder) {
  Drawing d(760, 430, "Banks that eight rows of a tile begin in, without and with padding");
  const auto panel = [&](double y, int stride, const std::string& words) {
    d.text(20, y, words, 13, "start");
    for (int bank = 0; bank < 32; bank += 4)
      d.text(74 + 21 * bank, y + 18, fmt::format("bank {}", bank), 10, "start", "small");
    for (int row = 0; row < 8; ++row) {
      d.text(62, y + 36 + 18 * row, fmt::format("row {}", row), 10, "end", "small");
      for (int bank = 0; bank < 32; ++bank) d.rect(70 + 21 * bank, y + 24 + 18 * row, 20, 15, "box");
      for (int byte = 0; byte < 16; byte += 4) {
        const int bank = bank_of(row * stride + byte);
        d.rect(70 + 21 * bank, y + 24 + 18 * row, 20, 15, colour(row),
               fmt::format("row {}, byte {} of the access: bank {}", row, byte, bank));
      }
    }
  };
  panel(20, 128, "rows of 128 bytes: all eight begin in bank 0 and collide: 8 wavefronts");
  panel(230, 144, "rows of 144 bytes, 16 of them padding: eight different groups of banks: 1 wavefront");
  d.save(folder, "banks",
         "Eight lanes read 16 bytes each, at the same column of eight rows. Shared memory has 32 banks of "
         "4 bytes, and a bank gives one word per clock. Words in one column of this picture need one clock"
         " each.");
}

void swizzle(const std::filesystem::path& folder) {
  Drawing d(760, 250, "Chunks of 16 bytes in eight rows, linear and swizzled");
  const auto panel = [&](double x, bool swizzled, const std::string& words) {
    d.text(x, 20, words, 13, "start");
    for (int row = 0; row < 8; ++row) {
      d.text(x + 34, 52 + 23 * row, fmt::format("row {}", row), 10, "end", "small");
      for (int chunk = 0; chunk < 8; ++chunk) {
        const int place = swizzled ? swizzled_chunk(row, chunk) : chunk;
        const int bank = bank_of(16 * place);
        const std::string hover =
            fmt::format("chunk {} of row {}: banks {} to {}", chunk, row, bank, bank + 3);
        d.rect(x + 40 + 38 * place, 36 + 23 * row, 36, 21, colour(chunk, chunk == 2 ? "" : " soft"), hover);
        d.text(x + 58 + 38 * place, 51 + 23 * row, fmt::format("{}", chunk), 12, "middle",
               chunk == 2 ? "on" : "");
      }
    }
    for (int place = 0; place < 8; ++place) {
      d.text(x + 58 + 38 * place, 236, fmt::format("{}-{}", 4 * place, 4 * place + 3), 10, "middle", "small");
    }
  };
  panel(10, false, "linear: chunk 2 of every row is in banks 8-11");
  panel(395, true, "swizzled: place = chunk XOR row % 8");
  d.save(folder, "swizzle",
         "Eight rows of 64 halves, eight chunks of 16 bytes each; the numbers below are banks. "
         "<code>ldmatrix</code> reads one chunk of eight rows at once, for example all chunks 2. Linear, "
         "all are in one group of banks; swizzled, each is in another, and no byte is spent on padding.");
}

void fragments(const std::filesystem::path& folder) {
  Drawing d(760, 545, "Which lane holds which element of the fragments of mma.m16n8k16");
  const double cell_w = 27, cell_h = 20;
  const auto cell = [&](double x, double y, Place place, int lane, const std::string& what) {
    d.rect(x + cell_w * place.column, y + cell_h * place.row, cell_w - 1, cell_h - 1, colour(lane % 4),
           fmt::format("lane {}, {}: row {}, column {}", lane, what, place.row, place.column));
    d.text(x + cell_w * place.column + cell_w / 2, y + cell_h * place.row + 14, fmt::format("{}", lane), 11);
  };
  const double ax = 20, ay = 180, bx = 490, by = 24, dx = 490, dy = 370;
  d.text(ax, ay - 12, "A, 16 x 16: lane, registers a0 to a3 by quarter", 13, "start");
  d.text(bx, by - 8, "B, 16 x 8", 13, "start");
  d.text(dx, dy - 8, "accumulator, 16 x 8 (upper half drawn)", 13, "start");
  for (int lane = 0; lane < 32; ++lane) {
    for (int reg = 0; reg < 4; ++reg) {
      for (int half = 0; half < 2; ++half)
        cell(ax, ay, a_fragment(lane, reg, half), lane, fmt::format("register a{}", reg));
      const Place place = d_fragment(lane, reg);
      if (place.row < 8) cell(dx, dy, {place.row, place.column}, lane, fmt::format("register d{}", reg));
    }
    for (int reg = 0; reg < 2; ++reg) {
      for (int half = 0; half < 2; ++half)
        cell(bx, by, b_fragment(lane, reg, half), lane, fmt::format("register b{}", reg));
    }
  }
  d.save(folder, "fragments",
         "The numbers are lanes. Four neighbouring lanes, a quad, hold a row of A and of the accumulator: "
         "that is why the maximum of a row takes two shuffles. Columns 2t and 2t+1 of lane t are the same "
         "in the accumulator and in each half of A: a tile of scores, packed to half, is already an "
         "operand of the next product.");
}

void pipeline(const std::filesystem::path& folder) {
  Drawing d(
      760, 380,
      "Loads and multiplications of four tiles: one buffer, two buffers, asynchronous copies in two stages");
  constexpr double kLoad = 70, kMultiply = 50, kX = 130;
  const auto lane = [&](double y, const std::string& words, const std::vector<std::array<double, 3>>& spans,
                        bool load) {
    d.text(kX - 10, y + 15, words, 11, "end", "small");
    for (const auto& [start, length, tile] : spans) {
      d.rect(kX + start, y, length - 2, 22, colour(int(tile), load ? " soft" : ""));
      d.text(kX + start + length / 2, y + 15, fmt::format("{}", int(tile)), 12, "middle", load ? "" : "on");
    }
  };
  std::vector<std::array<double, 3>> loads, products;
  double now = 0;
  for (int tile = 0; tile < 4; ++tile) {
    loads.push_back({now, kLoad, double(tile)});
    products.push_back({now + kLoad, kMultiply, double(tile)});
    now += kLoad + kMultiply;
  }
  d.text(20, 24, "one buffer: wait, multiply, wait, multiply", 13, "start");
  lane(36, "in flight", loads, true);
  lane(62, "multiplied", products, false);

  // Two buffers: the load of a tile starts when the tile before it begins to be multiplied, and its buffer is
  // free.
  const auto overlapped = [&](int ahead) {
    loads.clear();
    products.clear();
    std::vector<double> start(4), ready(4), done(4);
    for (int tile = 0; tile < 4; ++tile) {
      start[tile] = tile < ahead + 1 ? (ahead > 1   ? tile * 8.0
                                        : tile == 0 ? 0
                                                    : ready[0])
                                     : done[tile - ahead - 1];
      if (tile > 0 && ahead == 1) start[tile] = std::max(start[tile], ready[tile - 1]);
      ready[tile] = start[tile] + kLoad;
      done[tile] = std::max(ready[tile], tile > 0 ? done[tile - 1] : 0) + kMultiply;
      loads.push_back({start[tile], kLoad, double(tile)});
      products.push_back({done[tile] - kMultiply, kMultiply, double(tile)});
    }
  };
  overlapped(1);
  d.text(20, 124, "two buffers: the load of the next tile is issued before this one is multiplied", 13,
         "start");
  lane(136, "in flight", loads, true);
  lane(162, "multiplied", products, false);
  overlapped(2);
  d.text(20, 224, "three buffers, asynchronous copies: two tiles in flight at any time", 13, "start");
  for (int tile = 0; tile < 4; ++tile)
    lane(236 + 24 * (tile % 3), tile == 0 ? "in flight" : "", {loads[tile]}, true);
  lane(314, "multiplied", products, false);
  d.arrow(kX, 360, kX + 560, 360);
  d.text(kX + 590, 364, "time", 12, "middle", "small");
  d.save(folder, "pipeline",
         "Four tiles. Bars say in which order things can happen, not how long they take on any chip. With "
         "one buffer the two kinds of work alternate. With two, a load overlaps with a multiplication. "
         "With more than one tile in flight, loads overlap with one another as well.");
}

// Keys over warpgroups and blocks, and what the blocks of a cluster send each other.
void cluster(const std::filesystem::path& folder) {
  Drawing d(760, 400,
            "Two blocks of a cluster: each has half of the keys, and ends up with half of the rows");
  constexpr double kBlockX[2] = {20, 400}, kWidth = 340;
  for (int rank = 0; rank < 2; ++rank) {
    const double x = kBlockX[rank];
    d.rect(x, 30, kWidth, 350, "box");
    d.text(x + kWidth / 2, 22, fmt::format("block {}, on an SM of its own", rank), 13);
    d.text(x + 12, 54, "Q: the same 64 rows", 12, "start", "small");
    for (int group = 0; group < 2; ++group) {
      const int strip = 2 * rank + group;
      const double gx = x + 12 + group * 162;
      d.rect(gx, 64, 154, 66, colour(strip));
      d.text(gx + 77, 84, fmt::format("warpgroup {}", group), 12);
      d.text(gx + 77, 102, fmt::format("keys {} to {}", 128 * strip, 128 * strip + 127), 12);
      d.text(gx + 77, 120, "S, softmax, O: all 64 rows", 11, "middle", "small");
      d.arrow(gx + 77, 132, x + kWidth / 2 + (group == 0 ? -30 : 30), 168);
    }
    d.text(x + kWidth / 2, 186, "merged in the block: 256 keys", 12);
    for (int half = 0; half < 2; ++half) {
      const bool kept = half == rank;
      const double y = 196 + half * 52;
      d.rect(x + 70, y, 200, 48, kept ? colour(2 * rank, "") : colour(2 * rank));
      d.text(x + 170, y + 21, half == 0 ? "rows 0 to 31" : "rows 32 to 63", 12, "middle", kept ? "on" : "");
      d.text(x + 170, y + 38, kept ? "kept" : "sent, 4 KB", 11, "middle", kept ? "on" : "small");
    }
    d.text(x + kWidth / 2, 352, rank == 0 ? "writes rows 0 to 31" : "writes rows 32 to 63", 13);
    d.text(x + kWidth / 2, 370, "of 512 keys", 11, "middle", "small");
    d.arrow(x + kWidth / 2, 304, x + kWidth / 2, 334);
  }
  d.arrow(kBlockX[0] + 272, 272, kBlockX[1] + 66, 272);
  d.arrow(kBlockX[1] + 66, 220, kBlockX[0] + 274, 220);
  d.save(folder, "cluster",
         "64 query rows and 512 keys on two SMs. Each warpgroup has 128 keys, and all rows. A block merges"
         " its two warpgroups; then the half of the rows that the other block writes goes straight into "
         "its shared memory.");
}

// Who sends which columns of a row block's partial results to whom, when all four warpgroups merge at once.
void exchange(const std::filesystem::path& folder) {
  Drawing d(760, 290, "Four warpgroups send each other 16 columns each, and each writes 16");
  constexpr double kStep = 184, kWidth = 168, kPiece = 40;
  const auto x_of = [](int member) { return 16 + member * kStep; };
  const auto columns = [](int piece) { return fmt::format("{} to {}", 16 * piece, 16 * piece + 15); };
  for (int member = 0; member < 4; ++member) {
    d.box(x_of(member), 16, kWidth, 46, fmt::format("block {}, warpgroup {}", member / 2, member % 2),
          fmt::format("keys {} to {}", 128 * member, 128 * member + 127));
    for (int to = 0; to < 4; ++to) {
      const double x = x_of(member) + 4 + to * kPiece;
      const bool kept = to == member;
      d.rect(x, 70, kPiece - 2, 34, kept ? colour(to, "") : colour(to),
             fmt::format("columns {}, {}", columns(to), kept ? "kept" : "sent"));
      d.text(x + kPiece / 2 - 1, 91, fmt::format("{}", 16 * to), 12, "middle", kept ? "on" : "");
      d.arrow(x + kPiece / 2 - 1, 106, x_of(to) + kWidth / 2 + (member - 1.5) * 22, 212);
    }
    d.rect(x_of(member), 216, kWidth, 46, colour(member, ""));
    d.text(x_of(member) + kWidth / 2, 236, "adds four partial results, writes", 12, "middle", "on");
    d.text(x_of(member) + kWidth / 2, 253, fmt::format("columns {}", columns(member)), 12, "middle", "on");
  }
  d.save(folder, "exchange",
         "The same 64 rows and 512 keys. What a warpgroup has of O, all rows and 64 columns, is cut into "
         "four pieces of 16 columns, named by their first. It keeps one piece and sends each other piece "
         "to the warpgroup that writes those columns, in the other block or in the same.");
}

// What overlaps in the loop for long sequences: within a warpgroup, and between three of them.
void overlap(const std::filesystem::path& folder) {
  Drawing d(760, 400,
            "Products and softmax of one warpgroup in order, overlapped, and of three taking turns");
  constexpr double kProduct = 34, kSoftmax = 68, kX = 130, kEnd = 600;
  const auto bar = [&](double y, double start, double length, const std::string& words, int which,
                       bool product) {
    if (start + length > kEnd) return;
    d.rect(kX + start, y, length - 2, 22, colour(which, product ? "" : " soft"));
    d.text(kX + start + length / 2 - 1, y + 15, words, 11, "middle", product ? "on" : "");
  };
  const auto lanes = [&](double y, const std::string& title) {
    d.text(20, y, title, 13, "start");
    d.text(kX - 10, y + 27, "tensor cores", 11, "end", "small");
    d.text(kX - 10, y + 53, "softmax", 11, "end", "small");
  };
  const auto name = [](const char* what, int tile) { return fmt::format("{}{}", what, tile); };

  lanes(24, "in order: a product, the softmax, the other product");
  double now = 0;
  for (int tile = 0; tile < 5; ++tile) {
    bar(36, now, kProduct, name("S", tile), tile, true);
    bar(62, now + kProduct, kSoftmax, name("softmax ", tile), tile, false);
    bar(36, now + kProduct + kSoftmax, kProduct, name("O", tile), tile, true);
    now += 2 * kProduct + kSoftmax;
  }
  lanes(124, "overlap in a warpgroup: O of a tile overlaps with the softmax of the next");
  bar(136, 0, kProduct, "S0", 0, true);
  bar(162, kProduct, kSoftmax, "softmax 0", 0, false);
  now = kProduct + kSoftmax;
  for (int tile = 0; tile < 6; ++tile) {
    bar(136, now, kProduct, name("S", tile + 1), tile + 1, true);
    bar(136, now + kProduct, kProduct, name("O", tile), tile, true);
    bar(162, now + kProduct, kSoftmax, name("softmax ", tile + 1), tile + 1, false);
    now += kProduct + kSoftmax;
  }
  d.text(20, 224, "the same, and three warpgroups, a colour each, take turns at the tensor cores", 13,
         "start");
  d.text(kX - 10, 251, "tensor cores", 11, "end", "small");
  for (int turn = 0; turn < 9; ++turn) {
    const int group = turn % 3, tile = turn / 3;
    const double start = turn * 2 * kProduct;
    bar(236, start, kProduct, name("S", tile + 1), group, true);
    bar(236, start + kProduct, kProduct, name("O", tile), group, true);
    bar(262 + 26 * group, start + kProduct, kSoftmax, name("softmax ", tile + 1), group, false);
  }
  for (int group = 0; group < 3; ++group) {
    d.text(kX - 10, 277 + 26 * group, fmt::format("softmax of {}", group), 11, "end", "small");
  }
  d.arrow(kX, 372, kX + kEnd - 20, 372);
  d.text(kX + kEnd, 376, "time", 12, "middle", "small");
  d.save(folder, "overlap",
         "S is the product with K, O the product with V, and the number is the tile. Bars say in which "
         "order things can happen, not how long they take on any chip.");
}

}  // namespace
}  // namespace book

int main(int argc, char** argv) {
  return book::run("book_drawings", [&] {
    if (argc != 2) throw std::runtime_error("usage: book_drawings FOLDER");
    for (const auto draw : {book::hierarchy, book::coalescing, book::tiles, book::banks, book::swizzle,
                            book::fragments, book::pipeline, book::cluster, book::exchange, book::overlap}) {
      draw(argv[1]);
    }
  });
}
