#include "peers.hpp"

namespace attention::peers {

std::span<const Rival> rivals() {
  return {};
}
std::string versions() {
  return "";
}
std::unique_ptr<Call> make_call(const Rival&, const Problem&, const Inputs&) {
  return nullptr;
}
std::unique_ptr<Call> make_matrix_product(int) {
  return nullptr;
}

}  // namespace attention::peers
