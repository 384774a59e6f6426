#include <coracle/object.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

namespace coracle {
namespace {

constexpr std::size_t kMaxDepth = 1000;

// Builds the document, refusing repeated keys and depth beyond the limit: a recursive destructor
// must stay safe.
class StrictSax : public nlohmann::json_sax<Json> {
 public:
  explicit StrictSax(Json& root) : root_(root) {}
  bool null() override { return add(nullptr); }
  bool boolean(bool v) override { return add(v); }
  bool number_integer(number_integer_t v) override { return add(v); }
  bool number_unsigned(number_unsigned_t v) override { return add(v); }
  bool number_float(number_float_t v, const string_t&) override { return add(v); }
  bool string(string_t& v) override { return add(std::move(v)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& v) override {
    if (stack_.back()->contains(v)) {
      error = "duplicate field \"" + v + "\"";
      return false;
    }
    key_ = std::move(v);
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    if (error.empty()) error = "invalid JSON at byte " + std::to_string(position);
    return false;
  }
  std::string error;

 private:
  template <typename T>
  Json* place(T&& value) {
    if (stack_.empty()) {
      root_ = std::forward<T>(value);
      return &root_;
    }
    Json& parent = *stack_.back();
    if (parent.is_array()) {
      parent.push_back(std::forward<T>(value));
      return &parent.back();
    }
    Json& slot = parent[key_];
    slot = std::forward<T>(value);
    return &slot;
  }
  template <typename T>
  bool add(T&& value) {
    place(Json(std::forward<T>(value)));
    return true;
  }
  bool open(Json container) {
    if (stack_.size() >= kMaxDepth) {
      error = "exceeded max depth";
      return false;
    }
    stack_.push_back(place(std::move(container)));
    return true;
  }
  bool close() {
    stack_.pop_back();
    return true;
  }

  Json& root_;
  std::vector<Json*> stack_;
  std::string key_;
};

std::vector<OwnerReference> read_owners(const Json& document) {
  std::vector<OwnerReference> owners;
  const Json* list = json_find(document, {"metadata", "ownerReferences"});
  if (list == nullptr || !list->is_array()) return owners;
  for (const Json& o : *list) {
    owners.push_back({json_string(o, {"apiVersion"}), json_string(o, {"kind"}),
                      json_string(o, {"name"}), json_string(o, {"uid"}),
                      json_bool(o, {"controller"}), json_bool(o, {"blockOwnerDeletion"})});
  }
  return owners;
}

}  // namespace

Object::Object() : document_(std::make_unique<Json>(Json::object())) {}
Object::Object(Json document) : document_(std::make_unique<Json>(std::move(document))) {}
Object::Object(const Object& other) : document_(std::make_unique<Json>(*other.document_)) {}
Object::Object(Object&& other) noexcept = default;
Object& Object::operator=(const Object& other) {
  if (this != &other) document_ = std::make_unique<Json>(*other.document_);
  return *this;
}
Object& Object::operator=(Object&& other) noexcept = default;
Object::~Object() = default;

Result<Object> Object::parse(std::string_view text) {
  Json document;
  StrictSax sax(document);
  if (!Json::sax_parse(text.begin(), text.end(), &sax))
    return Error{Code::BadRequest, sax.error.empty() ? "invalid JSON" : sax.error};
  if (!document.is_object()) return Error{Code::BadRequest, "the document is not a JSON object"};
  return Object(std::move(document));
}

std::string Object::dump() const {
  // Invalid UTF-8 is replaced: a string a client sent must not make us throw.
  return document_->dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string Object::kind() const {
  return json_string(*document_, {"kind"});
}
std::string Object::api_version() const {
  return json_string(*document_, {"apiVersion"});
}
std::string Object::name() const {
  return json_string(*document_, {"metadata", "name"});
}
std::string Object::ns() const {
  return json_string(*document_, {"metadata", "namespace"});
}
std::string Object::uid() const {
  return json_string(*document_, {"metadata", "uid"});
}

Revision Object::revision() const {
  const std::string text = json_string(*document_, {"metadata", "resourceVersion"});
  Revision value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? value : 0;
}

Meta Object::meta() const {
  const Json& j = *document_;
  Meta m;
  m.name = name();
  m.ns = ns();
  m.uid = uid();
  m.revision = revision();
  m.generation = json_int(j, {"metadata", "generation"});
  m.creation_timestamp = json_string(j, {"metadata", "creationTimestamp"});
  m.deletion_timestamp = json_string(j, {"metadata", "deletionTimestamp"});
  m.deletion_grace_period_seconds = json_int(j, {"metadata", "deletionGracePeriodSeconds"});
  m.labels = json_string_map(j, {"metadata", "labels"});
  m.annotations = json_string_map(j, {"metadata", "annotations"});
  m.owners = read_owners(j);
  m.finalizers = json_string_list(j, {"metadata", "finalizers"});
  return m;
}

const Json* json_find(const Json& json, std::initializer_list<const char*> path) {
  const Json* at = &json;
  for (const char* member : path) {
    if (!at->is_object()) return nullptr;
    const auto it = at->find(member);
    if (it == at->end()) return nullptr;
    at = &*it;
  }
  return at;
}

std::string json_string(const Json& json, std::initializer_list<const char*> path) {
  const Json* at = json_find(json, path);
  return at != nullptr && at->is_string() ? at->get<std::string>() : std::string();
}

std::int64_t json_int(const Json& json, std::initializer_list<const char*> path,
                      std::int64_t otherwise) {
  const Json* at = json_find(json, path);
  return at != nullptr && at->is_number_integer() ? at->get<std::int64_t>() : otherwise;
}

bool json_bool(const Json& json, std::initializer_list<const char*> path, bool otherwise) {
  const Json* at = json_find(json, path);
  return at != nullptr && at->is_boolean() ? at->get<bool>() : otherwise;
}

std::map<std::string, std::string> json_string_map(const Json& json,
                                                   std::initializer_list<const char*> path) {
  std::map<std::string, std::string> out;
  const Json* at = json_find(json, path);
  if (at == nullptr || !at->is_object()) return out;
  for (const auto& [key, value] : at->items())
    if (value.is_string()) out.emplace(key, value.get<std::string>());
  return out;
}

std::vector<std::string> json_string_list(const Json& json,
                                          std::initializer_list<const char*> path) {
  std::vector<std::string> out;
  const Json* at = json_find(json, path);
  if (at == nullptr || !at->is_array()) return out;
  for (const Json& value : *at)
    if (value.is_string()) out.push_back(value.get<std::string>());
  return out;
}

}  // namespace coracle
