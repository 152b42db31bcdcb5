#include "tables.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <map>
#include <set>
#include <sstream>

#include "attention/error.hpp"

namespace attention::bench {
namespace {

const std::string kHeadline = shape_name(Problem());
const std::string kHeadlineCausal = shape_name(Problem({.causal = true}));
constexpr const char* kNothing =
    "Not measured yet: `docs/record.sh` on a machine with a GPU records times.\n";

// Three significant digits, and no exponent: 0.604, 13.6, 1251.
std::string digits(double value) {
  if (!(value > 0)) return "0";
  const int before_point = int(std::floor(std::log10(1.0005 * value))) + 1;  // 0.9996 is read as 1.00
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", std::clamp(3 - before_point, 0, 3), value);
  return text;
}

std::string factor(double value) {
  return digits(value) + "x";
}

std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, share < 0.095 ? "%.1f %%" : "%.0f %%", 100 * share);
  return text;
}

std::string row(const std::vector<std::string>& cells) {
  std::string text = "|";
  for (const std::string& cell : cells) text += " " + cell + " |";
  return text + "\n";
}

std::string heading(const std::vector<std::string>& cells) {
  std::string text = row(cells) + "|";
  for (std::size_t i = 0; i < cells.size(); ++i) text += " --- |";
  return text + "\n";
}

std::string code(const std::string& text) {
  return "`" + text + "`";
}

std::string where_from(const Results& results) {
  const std::string commit = results.about("commit");
  return "NVIDIA driver " + results.about("driver") + ", CUDA " + results.about("cuda") + ", rivals from " +
         results.about("rivals") + "; commit " + code(commit.substr(0, 12)) +
         (results.about("dirty") == "true" ? " with changes" : "") + ", " +
         results.about("date").substr(0, 10) + ". Recorded in `docs/results/" + results.file +
         "` by `docs/record.sh`, whose command was " + code(results.about("command")) + ".\n";
}

// The stages' measurements of one shape and mode, in ladder order.
std::vector<const Measurement*> of_kind(const Results& results, Kind kind, const std::string& shape,
                                        const std::string& mode) {
  std::vector<const Measurement*> found;
  for (const Measurement& measurement : results.measurements) {
    if (measurement.kind == kind && measurement.name.shape == shape && measurement.name.mode == mode) {
      found.push_back(&measurement);
    }
  }
  return found;
}

const Measurement* best(const std::vector<const Measurement*>& candidates) {
  const auto fastest = std::min_element(candidates.begin(), candidates.end(),
                                        [](auto* a, auto* b) { return a->median_us < b->median_us; });
  return fastest == candidates.end() ? nullptr : *fastest;
}

std::string time_or_dash(const Measurement* measurement) {
  return measurement ? digits(measurement->median_us) : "-";
}

// Cells that every table of variants has: median, spread, gain on the row before, rate, share of the best
// rival.
std::vector<std::string> numbers(const Measurement& now, const Measurement* before,
                                 const Measurement* rival) {
  return {digits(now.median_us), digits(now.p10_us) + " - " + digits(now.p90_us),
          before ? factor(before->median_us / now.median_us) : "", now.tflops ? digits(*now.tflops) : "",
          rival ? percent(rival->median_us / now.median_us) : "-"};
}

std::string with_front(std::vector<std::string> front, const std::vector<std::string>& rest) {
  front.insert(front.end(), rest.begin(), rest.end());
  return row(front);
}

std::string ladder_table(const Results& results) {
  const auto ours = of_kind(results, Kind::stage, kHeadline, "chain");
  const auto rivals = of_kind(results, Kind::rival, kHeadline, "chain");
  const Measurement* rival = best(rivals);
  std::string text = heading({"stage", "variant", "idea", "median us", "p10 - p90", "against the row before",
                              "TFLOP/s", "of the best rival"});
  const Measurement* before = nullptr;
  for (const Measurement* now : ours) {
    text += with_front({now->name.who, code(now->name.variant), now->idea}, numbers(*now, before, rival));
    before = now;
  }
  for (const Measurement* now : rivals) {
    text += with_front({"rival", code(now->name.variant), now->idea}, numbers(*now, nullptr, rival));
  }
  for (const Measurement* now : of_kind(results, Kind::floor, "G128_T256", "chain")) {
    text += with_front({"floor", code(now->name.variant), now->idea}, numbers(*now, nullptr, nullptr));
  }
  return text;
}

std::string stage_table(const Results& results, const std::string& stage) {
  const auto all = of_kind(results, Kind::stage, kHeadline, "chain");
  const Measurement* rival = best(of_kind(results, Kind::rival, kHeadline, "chain"));
  std::string text = heading({"variant", "idea", "median us", "p10 - p90", "against the row before",
                              "TFLOP/s", "of the best rival"});
  std::string modes =
      heading({"variant, us a call", "chain", "causal", "single", "cold", "streams", "launch floor, chain"});
  const Measurement* before = nullptr;
  bool any = false;
  for (const Measurement* now : all) {
    if (now->name.who == stage) {
      if (!any && before) {
        text += with_front({code(before->name.who + "/" + before->name.variant), before->idea},
                           numbers(*before, nullptr, rival));
      }
      any = true;
      text += with_front({code(now->name.variant), now->idea}, numbers(*now, before, rival));
      const auto in_mode = [&](const std::string& shape, const char* mode) {
        return time_or_dash(results.find({stage, now->name.variant, shape, mode}));
      };
      modes += row({code(now->name.variant), in_mode(kHeadline, "chain"), in_mode(kHeadlineCausal, "chain"),
                    in_mode(kHeadline, "single"), in_mode(kHeadline, "cold"), in_mode(kHeadline, "streams"),
                    now->floor_us ? digits(*now->floor_us) : "-"});
    }
    before = now;
  }
  return any ? text + "\n" + modes : kNothing;
}

// TFLOP/s of "stage/variant" or "pytorch/back end" at a shape.
std::string rate(const Results& results, const std::string& who, const std::string& shape) {
  const std::size_t slash = who.find('/');
  const Measurement* found = results.find({who.substr(0, slash), who.substr(slash + 1), shape, "chain"});
  return found && found->tflops ? digits(*found->tflops) : "-";
}

std::string shapes_table(const Results& results) {
  // Shapes with a time of at least two contestants, in the file's order; the headline has tables of its own.
  std::vector<std::string> shapes, contestants;
  std::set<std::string> seen;
  std::map<std::string, std::size_t> times;
  for (const Measurement& measurement : results.measurements) {
    if (!measurement.problem || measurement.name.mode != "chain") continue;
    const std::string& shape = measurement.name.shape;
    if (shape == kHeadline || shape == kHeadlineCausal) continue;
    if (seen.insert(shape).second) shapes.push_back(shape);
    const std::string who = measurement.name.who + "/" + measurement.name.variant;
    if (seen.insert(who).second) contestants.push_back(who);
    ++times[who];
  }
  // Who was timed at few of them has a table elsewhere.
  std::erase_if(contestants, [&](const std::string& who) { return 2 * times[who] < shapes.size(); });
  std::stable_partition(contestants.begin(), contestants.end(),
                        [](const std::string& who) { return !who.starts_with("pytorch/"); });
  std::vector<std::string> cells = {"TFLOP/s"};
  for (const std::string& who : contestants) cells.push_back(code(who));
  std::string text = heading(cells);
  for (const std::string& shape : shapes) {
    cells = {shape};
    for (const std::string& who : contestants) {
      cells.push_back(rate(results, who, shape));
    }
    text += row(cells);
  }
  return text;
}

// Rates at 16384 tokens of 2048 channels: a column a length, full and causal, a row a contestant.
std::string large_table(const Results& results) {
  std::string text;
  for (const int head_dim : {64, 128}) {
    std::vector<std::string> shapes, contestants;
    const auto add_once = [](std::vector<std::string>& list, const std::string& item) {
      if (std::find(list.begin(), list.end(), item) == list.end()) list.push_back(item);
    };
    for (const Kind kind : {Kind::rival, Kind::stage}) {
      for (const Measurement& measurement : results.measurements) {
        const auto& p = measurement.problem;
        if (measurement.kind != kind || measurement.name.mode != "chain" || !p || p->head_dim != head_dim ||
            p->batch * p->seq_q != 16384 || p->heads * p->head_dim != 2048) {
          continue;
        }
        add_once(shapes, measurement.name.shape);
        add_once(contestants, measurement.name.who + "/" + measurement.name.variant);
      }
    }
    if (shapes.empty()) continue;
    std::vector<std::string> cells = {"D=" + std::to_string(head_dim) + ", TFLOP/s"};
    for (const std::string& shape : shapes) {
      const Problem p = parse_shape(shape);
      cells.push_back("S=" + std::to_string(p.seq_q) + (p.causal ? " causal" : ""));
    }
    if (!text.empty()) text += "\n";
    text += heading(cells);
    for (const std::string& who : contestants) {
      cells = {code(who)};
      for (const std::string& shape : shapes) {
        cells.push_back(rate(results, who, shape));
      }
      text += row(cells);
    }
    cells = {"the best of ours, of the best rival"};
    for (const std::string& shape : shapes) {
      const Measurement* ours = best(of_kind(results, Kind::stage, shape, "chain"));
      const Measurement* rival = best(of_kind(results, Kind::rival, shape, "chain"));
      cells.push_back(ours && rival ? percent(rival->median_us / ours->median_us) : "-");
    }
    text += row(cells);
  }
  return text.empty() ? kNothing : text;
}

std::uint64_t fnv1a(const std::string& text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const unsigned char byte : text) hash = (hash ^ byte) * 0x100000001b3;
  return hash;
}

}  // namespace

std::string block(const std::string& name, const std::vector<Results>& all, const std::string& to_root) {
  std::string text;
  for (const Results& results : all) {
    const std::string table = name == "ladder"   ? ladder_table(results)
                              : name == "shapes" ? shapes_table(results)
                              : name == "large"  ? large_table(results)
                                                 : stage_table(results, name);
    if (table == kNothing) continue;
    const std::string what = name == "shapes" || name == "large"
                                 ? "times are medians of `chain`."
                                 : "B=1 H=8 S=512 D=64, FP16; microseconds a call in a CUDA graph (`chain`).";
    if (!text.empty()) text += "\n";
    text += results.about("gpu") + ": " + what + "\n\n" + table + "\n" + where_from(results);
  }
  if (text.empty()) return kNothing;
  if (name == "ladder") text += "\n![The ladder, log scale](" + to_root + "docs/ladder.svg)\n";
  return text;
}

std::string with_blocks(const std::string& markdown, const std::string& file,
                        const std::vector<Results>& all) {
  static const std::string kOpen = "<!-- results: ", kOpenEnd = " -->\n", kClose = "<!-- /results -->";
  std::string text, to_root;
  for (const char character : file) {
    if (character == '/') to_root += "../";
  }
  std::size_t at = 0;
  while (true) {
    const std::size_t open = markdown.find(kOpen, at);
    if (open == std::string::npos) return text + markdown.substr(at);
    const std::size_t name_end = markdown.find(kOpenEnd, open);
    const std::size_t close = markdown.find(kClose, open);
    if (name_end == std::string::npos || close == std::string::npos || name_end > close ||
        markdown.find(kOpen, open + 1) < close) {
      throw InvalidInput(file + ": a block '" + kOpen + "...' is not closed by '" + kClose + "'");
    }
    const std::size_t contents = name_end + kOpenEnd.size();
    const std::string name = markdown.substr(open + kOpen.size(), name_end - open - kOpen.size());
    const bool of_stage = name.size() > 3 && std::isdigit(name[0]) && std::isdigit(name[1]) && name[2] == '_';
    if (name != "ladder" && name != "shapes" && name != "large" && !of_stage) {
      throw InvalidInput(file + ": no results are called '" + name +
                         "'; there is ladder, shapes, large or a stage's name");
    }
    text += markdown.substr(at, contents - at) + block(name, all, to_root);
    at = close;
  }
}

std::string ladder_plot(const Results& results) {
  const auto ours = of_kind(results, Kind::stage, kHeadline, "chain");
  const auto rivals = of_kind(results, Kind::rival, kHeadline, "chain");
  const auto floors = of_kind(results, Kind::floor, "G128_T256", "chain");
  std::ostringstream plot;
  plot << "set terminal svg size 860," << 150 + 24 * ours.size()
       << " noenhanced font 'sans-serif,12' background 'white'\n"
       << "set title 'Microseconds a call, B=1 H=8 S=512 D=64, " << results.about("gpu") << "'\n"
       << "set logscale x\nset xrange [0.4:" << 2.5 * (ours.empty() ? 1 : ours.front()->median_us) << "]\n"
       << "set yrange [" << ours.size()
       << ":-3.3]\nset key off\nset style fill solid\nset border 1\nset xtics nomirror\n"
       << "set ytics nomirror scale 0\nset lmargin 30\nset xlabel 'us (log scale, shorter is faster)'\n";
  const auto line = [&](const Measurement& at, const std::string& what, const char* color, double height) {
    plot << "set arrow from " << at.median_us << ",graph 0 to " << at.median_us << "," << height
         << " nohead lc rgb '" << color << "' dt 2\n"
         << "set label '" << what << " " << digits(at.median_us) << "' at " << at.median_us << "," << height
         << " offset 0.4,0 font ',10' textcolor rgb '" << color << "'\n";
  };
  for (std::size_t i = 0; i < rivals.size(); ++i)
    line(*rivals[i], rivals[i]->name.variant, "#b03060", -0.7 - 0.7 * double(i % 4));
  for (const Measurement* floor : floors) line(*floor, "launch floor", "#555555", -0.7);
  plot << "$ladder << END\n";
  int color = -1;
  std::string stage;
  for (std::size_t i = 0; i < ours.size(); ++i) {
    if (ours[i]->name.who != stage) ++color;
    stage = ours[i]->name.who;
    plot << i << " " << ours[i]->median_us << " " << color << " \"" << stage << "/" << ours[i]->name.variant
         << "\" \"" << digits(ours[i]->median_us) << "\"\n";
  }
  plot
      << "END\narray colors[6] = [0x8da0cb, 0x66c2a5, 0xe5a84b, 0xe78ac3, 0x5c8a3a, 0x999999]\n"
      << "plot $ladder using (0.4):1:(0.4):2:($1-0.36):($1+0.36):(colors[int($3)%6+1]):ytic(stringcolumn(4)) "
         "with boxxyerror lc rgb variable, \\\n"
      << "  $ladder using 2:1:5 with labels left offset 0.6,0 font ',10'\n";
  return plot.str();
}

std::string ladder_mark(const Results& results) {
  char mark[64];
  std::snprintf(mark, sizeof mark, "<!-- drawn from %016llx -->",
                static_cast<unsigned long long>(fnv1a(ladder_plot(results))));
  return mark;
}

std::vector<Generated> generate_documents(const std::filesystem::path& root) {
  const std::vector<Results> all = read_all_results(root / "docs/results");
  std::vector<std::filesystem::path> paths;
  const auto add_if_there = [&](const std::filesystem::path& path) {
    if (std::filesystem::is_regular_file(path)) paths.push_back(path);
  };
  add_if_there(root / "README.md");
  for (const char* folder : {"stages", "book"}) {
    if (!std::filesystem::is_directory(root / folder)) continue;
    for (const auto& entry : std::filesystem::directory_iterator(root / folder)) {
      if (entry.is_directory()) add_if_there(entry.path() / "README.md");
      if (entry.path().extension() == ".md") paths.push_back(entry.path());
    }
  }
  std::sort(paths.begin(), paths.end());

  std::vector<Generated> documents;
  for (const std::filesystem::path& path : paths) {
    const std::string markdown = read_text(path);
    const std::string name = std::filesystem::relative(path, root);
    const bool of_stage = path.parent_path().parent_path().filename() == "stages";
    const std::string stage = path.parent_path().filename();
    if (of_stage && markdown.find("<!-- results: " + stage + " -->") == std::string::npos) {
      throw InvalidInput(name + " has no block '<!-- results: " + stage + " -->' for its recorded times");
    }
    documents.push_back({path, with_blocks(markdown, name, all)});
  }
  return documents;
}

std::optional<Generated> generate_picture(const std::filesystem::path& root, bool draw) {
  const std::vector<Results> all = read_all_results(root / "docs/results");
  if (all.empty()) return {};
  const Results& results = all.front();
  Generated picture{root / "docs/ladder.svg", ladder_mark(results), true};
  if (!draw) return picture;

  // gnuplot reads its commands from a file of the system's own, which is gone once closed.
  FILE* commands = std::tmpfile();
  if (!commands) throw InvalidInput("cannot make a temporary file for gnuplot");
  const std::string plot = ladder_plot(results);
  std::fwrite(plot.data(), 1, plot.size(), commands);
  std::fflush(commands);
  const std::string command = "gnuplot /dev/fd/" + std::to_string(fileno(commands));
  FILE* pipe = popen(command.c_str(), "r");
  std::string svg;
  char buffer[4096];
  while (pipe && std::fgets(buffer, sizeof buffer, pipe)) svg += buffer;
  const int status = pipe ? pclose(pipe) : -1;
  std::fclose(commands);
  if (status != 0 || svg.find("</svg>") == std::string::npos) {
    throw InvalidInput("gnuplot did not draw the ladder; is it installed (apt-get install gnuplot-nox)?");
  }
  picture.contents = svg + ladder_mark(results) + "\n";
  return picture;
}

}  // namespace attention::bench
