// What a document costs to copy: work that a client can make us repeat is measured by it.
#pragma once

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "schema.h"

namespace coracle {

struct Weight {
  std::size_t depth = 0;
  std::size_t bytes = 0;  // about
};

inline Weight weigh(const Json& value) {
  Weight weight;
  std::vector<std::pair<const Json*, std::size_t>> todo{{&value, 1}};
  while (!todo.empty()) {
    const auto [at, depth] = todo.back();
    todo.pop_back();
    weight.depth = std::max(weight.depth, depth);
    weight.bytes += 16;
    if (at->is_string()) weight.bytes += at->get_ref<const std::string&>().size();
    for (auto it = at->begin(); at->is_structured() && it != at->end(); ++it) {
      if (at->is_object()) weight.bytes += it.key().size();
      todo.emplace_back(&*it, depth + 1);
    }
  }
  return weight;
}

}  // namespace coracle
