// JSON merge patch (RFC 7396) and JSON patch (RFC 6902). Pure. JSON patch is done here and not by
// nlohmann's, which asserts on a path below a scalar and lets `copy` double a document for ever.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "json_weight.h"
#include "schema.h"

namespace coracle {
namespace {

constexpr std::size_t kMostOperations = 10000;
// Bytes that `copy` operations of one patch may add.
constexpr std::size_t kMostCopied = std::size_t{3} << 20;
// Bytes of values that operations may place in all.
constexpr std::size_t kMostWeighed = std::size_t{64} << 20;
constexpr std::size_t kMostShifted = std::size_t{64} << 20;
constexpr std::size_t kMostDepth = 1000;

Error bad(const std::string& message) {
  return {Code::BadRequest, message};
}
// A well-formed patch that this document cannot take. kubectl shows the causes of such an error and
// not its message.
Error refused(const std::string& message) {
  return {Code::Invalid, message, {{"FieldValueInvalid", message, "patch"}}};
}

void merge(Json& document, const Json& patch) {
  if (!document.is_object()) document = Json::object();
  for (const auto& [key, value] : patch.items()) {
    if (value.is_null()) {
      document.erase(key);
    } else if (value.is_object()) {
      merge(document[key], value);
    } else {
      document[key] = value;
    }
  }
}

using Path = std::vector<std::string>;

Result<Path> parse_pointer(const std::string& text) {
  Path path;
  if (text.empty()) return path;
  if (text.front() != '/') return bad("a JSON pointer must begin with '/': " + text.substr(0, 256));
  std::string token;
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '/') {
      path.push_back(std::move(token));
      token.clear();
    } else if (text[i] != '~') {
      token.push_back(text[i]);
    } else {
      const char escaped = i + 1 < text.size() ? text[++i] : '\0';
      if (escaped != '0' && escaped != '1')
        return bad("a JSON pointer has a bad escape: " + text.substr(0, 256));
      token.push_back(escaped == '0' ? '~' : '/');
    }
  }
  path.push_back(std::move(token));
  if (path.size() > kMostDepth) return bad("a JSON pointer is too deep");
  return path;
}

std::string shown(const Path& path) {
  std::string out;
  for (const std::string& token : path) out += "/" + token;
  return out.size() > 256 ? out.substr(0, 256) + "..." : out;
}

// An array index below `limit`; limit itself for "-" when that is wanted.
Result<std::size_t> parse_index(const std::string& token, std::size_t limit) {
  const bool digits = !token.empty() && token.size() <= 9 &&
                      token.find_first_not_of("0123456789") == std::string::npos &&
                      (token.size() == 1 || token.front() != '0');
  if (!digits) return refused("invalid array index: " + token.substr(0, 64));
  const auto index = static_cast<std::size_t>(std::stoul(token));
  if (index >= limit) return refused("array index out of bounds: " + token);
  return index;
}

Result<Json*> child(Json& parent, const std::string& token, const Path& path) {
  if (parent.is_object()) {
    const auto it = parent.find(token);
    if (it != parent.end()) return &*it;
  } else if (parent.is_array()) {
    return &parent[TRY(parse_index(token, parent.size()))];
  }
  return refused("the path \"" + shown(path) + "\" does not exist in the object");
}

// What the operations of one patch have done so far. Everything that puts a value somewhere asks
// here first, so that values moved into values can neither nest nor grow without limit.
struct Budget {
  std::size_t weighed = 0;
  std::size_t copied = 0;
  std::size_t shifted = 0;

  Result<Weight> put(const Path& path, const Json& value) {
    const Weight weight = weigh(value);
    weighed += weight.bytes;
    if (path.size() + weight.depth > kMostDepth) return refused("the patch nests too deeply");
    if (weighed > kMostWeighed) return refused("the patch moves too much");
    return weight;
  }
  // An element that comes into or leaves a list moves those behind it.
  Result<void> shift(std::size_t elements) {
    shifted += elements;
    if (shifted > kMostShifted) return refused("the patch moves too many list elements");
    return {};
  }
};

// What lies at the path, or at its parent when `depth` leaves tokens over.
Result<Json*> locate(Json& document, const Path& path, std::size_t depth) {
  Json* at = &document;
  for (std::size_t i = 0; i < depth; ++i) at = TRY(child(*at, path[i], path));
  return at;
}

Result<void> add(Json& document, const Path& path, Json value, Budget& budget) {
  if (path.empty()) {
    document = std::move(value);
    return {};
  }
  Json& parent = *TRY(locate(document, path, path.size() - 1));
  if (parent.is_object()) {
    parent[path.back()] = std::move(value);
    return {};
  }
  if (!parent.is_array())
    return refused("the path \"" + shown(path) + "\" does not exist in the object");
  if (path.back() == "-") {
    parent.push_back(std::move(value));
    return {};
  }
  const std::size_t index = TRY(parse_index(path.back(), parent.size() + 1));
  TRY(budget.shift(parent.size() - index));
  parent.insert(parent.begin() + static_cast<std::ptrdiff_t>(index), std::move(value));
  return {};
}

Result<Json> take(Json& document, const Path& path, Budget& budget) {
  if (path.empty()) return refused("the whole object cannot be removed");
  Json& parent = *TRY(locate(document, path, path.size() - 1));
  Json& item = *TRY(child(parent, path.back(), path));
  const bool in_list = parent.is_array();
  const auto index = in_list ? static_cast<std::size_t>(&item - &parent[0]) : 0;
  if (in_list) TRY(budget.shift(parent.size() - index));
  Json value = std::move(item);
  if (in_list) {
    parent.erase(index);
  } else {
    parent.erase(path.back());
  }
  return value;
}

struct Operation {
  std::string op;
  Path path;
  Path from;
  const Json* value = nullptr;
};

Result<Path> pointer_member(const Json& json, const char* name) {
  const auto it = json.find(name);
  if (it == json.end() || !it->is_string())
    return bad(std::string("a JSON patch operation needs the string \"") + name + "\"");
  return parse_pointer(it->get<std::string>());
}

Result<Operation> parse_operation(const Json& json) {
  static constexpr std::string_view kKnown[] = {"add", "remove", "replace", "move", "copy", "test"};
  if (!json.is_object()) return bad("a JSON patch is a list of operations");
  const auto op = json.find("op");
  if (op == json.end() || !op->is_string())
    return bad("a JSON patch operation needs the string \"op\"");
  Operation out;
  out.op = op->get<std::string>();
  if (std::find(std::begin(kKnown), std::end(kKnown), out.op) == std::end(kKnown))
    return bad("unexpected kind of JSON patch operation: " + out.op.substr(0, 64));
  out.path = TRY(pointer_member(json, "path"));
  if (out.op == "move" || out.op == "copy") out.from = TRY(pointer_member(json, "from"));
  if (out.op == "add" || out.op == "replace" || out.op == "test") {
    const auto value = json.find("value");
    if (value == json.end()) return bad("a JSON patch operation needs a \"value\"");
    out.value = &*value;
  }
  return out;
}

bool is_prefix(const Path& prefix, const Path& path) {
  return prefix.size() < path.size() && std::equal(prefix.begin(), prefix.end(), path.begin());
}

Result<void> transfer(Json& document, const Operation& operation, Budget& budget) {
  const Json& source = *TRY(locate(document, operation.from, operation.from.size()));
  const Weight weight = TRY(budget.put(operation.path, source));
  if (operation.op == "move") {
    if (is_prefix(operation.from, operation.path))
      return refused("a value cannot be moved into itself");
    if (operation.from == operation.path) return {};
    return add(document, operation.path, TRY(take(document, operation.from, budget)), budget);
  }
  budget.copied += weight.bytes;
  if (budget.copied > kMostCopied) return refused("the patch copies too much");
  return add(document, operation.path, Json(source), budget);
}

Result<void> run(Json& document, const Operation& operation, Budget& budget) {
  if (operation.op == "move" || operation.op == "copy")
    return transfer(document, operation, budget);
  if (operation.op == "remove") {
    TRY(take(document, operation.path, budget));
    return {};
  }
  if (operation.op == "add") {
    TRY(budget.put(operation.path, *operation.value));
    return add(document, operation.path, *operation.value, budget);
  }
  Json& target = *TRY(locate(document, operation.path, operation.path.size()));
  if (operation.op == "replace") {
    TRY(budget.put(operation.path, *operation.value));
    target = *operation.value;
    return {};
  }
  if (target != *operation.value)
    return refused("testing value " + shown(operation.path) + " failed");
  return {};
}

}  // namespace

Result<Json> apply_json_merge_patch(Json document, const Json& patch) {
  if (!patch.is_object()) return bad("a merge patch is a JSON object");
  merge(document, patch);
  return document;
}

Result<Json> apply_json_patch(Json document, const Json& patch) {
  if (!patch.is_array()) return bad("a JSON patch is a list of operations");
  if (patch.size() > kMostOperations) {
    return Error{Code::TooLarge, "The allowed maximum operations in a JSON patch is " +
                                     std::to_string(kMostOperations) + ", got " +
                                     std::to_string(patch.size())};
  }
  Budget budget;
  for (const Json& json : patch) {
    const Operation operation = TRY(parse_operation(json));
    TRY(run(document, operation, budget));
  }
  return document;
}

}  // namespace coracle
