#include "libraries.hpp"

namespace attention::libraries {

std::span<const Library> all() {
  return {};
}
std::string versions() {
  return "";
}
std::unique_ptr<Call> make_call(const Library&, const Problem&, const Inputs&) {
  return nullptr;
}
std::unique_ptr<Call> make_matrix_product(int) {
  return nullptr;
}

}  // namespace attention::libraries
