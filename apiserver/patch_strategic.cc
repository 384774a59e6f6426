// Strategic merge patch:
// https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
// Merge keys and strategies come from the schema. Pure. Lists are merged through hash indexes, so
// the cost stays linear however large a list a client sends.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <unordered_set>

#include "json_weight.h"
#include "schema.h"

namespace coracle {
namespace {

constexpr std::string_view kDirective = "$patch";
constexpr std::string_view kRetainKeys = "$retainKeys";
constexpr std::string_view kOrder = "$setElementOrder/";
constexpr std::string_view kDelete = "$deleteFromPrimitiveList/";

// Bytes of list elements that one patch may merge into again, see merge_objects.
constexpr std::size_t kMostMergedAgain = std::size_t{4} << 20;

Error bad(const std::string& message) {
  return {Code::BadRequest, message};
}

// How a field is merged. A field that the schema does not know merges like a plain map or list.
struct Rule {
  const SchemaType* type = nullptr;  // of the value or of its elements
  bool merges_lists = false;
  bool replaces = false;
  std::string key;  // merge key; empty for lists of scalars
};

Rule rule_of(const SchemaType* type, const std::string& name) {
  const SchemaField* field = type == nullptr ? nullptr : type->find(name);
  if (field == nullptr) return {};
  Rule rule;
  const bool object = field->kind == SchemaField::Kind::Object;
  // Members of a map have names of their own: the map's type is not theirs.
  rule.type = object && field->shape != SchemaField::Shape::Map ? field->type : nullptr;
  rule.merges_lists = field->shape == SchemaField::Shape::List &&
                      field->patch_strategy.find("merge") != std::string::npos;
  rule.replaces = field->patch_strategy == "replace";
  rule.key = field->patch_merge_key;
  return rule;
}

bool is_directive(const std::string& key) {
  return key == kDirective || key == kRetainKeys || key.starts_with(kOrder) ||
         key.starts_with(kDelete);
}

// "", "replace", "delete" or "merge".
Result<std::string> directive_of(const Json& patch) {
  const auto it = patch.find(kDirective);
  if (it == patch.end()) return std::string();
  const std::string name = it->is_string() ? it->get<std::string>() : "";
  if (name == "replace" || name == "delete" || name == "merge") return name;
  return bad("unknown patch type found: " + it->dump().substr(0, 64));
}

struct Budget {
  std::size_t merged_again = 0;
};

Result<Json> merge_value(const Rule& rule, const Json* original, const Json& patch, Budget& budget);

// The value with every directive taken out, at every depth.
Json plain(const Json& value) {
  if (value.is_array()) {
    Json out = Json::array();
    for (const Json& item : value) out.push_back(plain(item));
    return out;
  }
  if (!value.is_object()) return value;
  Json out = Json::object();
  for (const auto& [key, item] : value.items())
    if (!is_directive(key)) out[key] = plain(item);
  return out;
}

// What tells list elements apart: a scalar's own text or the merge key's. Empty when it has none.
std::string identity(const Json& element, const std::string& key) {
  if (key.empty()) return element.is_structured() ? std::string() : element.dump();
  if (!element.is_object()) return {};
  const auto it = element.find(key);
  return it == element.end() || it->is_null() ? std::string() : it->dump();
}

Error no_key(const Json& element, const std::string& key) {
  return bad("map: " + element.dump().substr(0, 200) +
             " does not contain declared merge key: " + key);
}

using Places = std::unordered_map<std::string, std::size_t>;

Places places_of(const Json& list, const std::string& key) {
  Places places;
  for (std::size_t i = 0; i < list.size(); ++i) {
    std::string id = identity(list[i], key);
    if (!id.empty()) places.emplace(std::move(id), i);
  }
  return places;
}

// Elements that `order` names come in its order; the others keep their place among themselves, and
// before a named one that stood behind them in `live`.
Json reorder(const Json& merged, const Json& order, const Json& live, const std::string& key) {
  const Places wanted = places_of(order, key);
  const Places lived = places_of(live, key);
  struct Item {
    const Json* value;
    std::size_t place;
  };
  std::vector<Item> named;
  std::vector<Item> others;
  const auto place_in = [&](const Places& places, const Json& item) {
    const auto it = places.find(identity(item, key));
    return it == places.end() ? places.size() + merged.size() : it->second;
  };
  for (const Json& item : merged) {
    const bool is_named = wanted.contains(identity(item, key));
    (is_named ? named : others).push_back({&item, place_in(is_named ? wanted : lived, item)});
  }
  const auto by_place = [](const Item& a, const Item& b) { return a.place < b.place; };
  std::stable_sort(named.begin(), named.end(), by_place);
  std::stable_sort(others.begin(), others.end(), by_place);
  Json out = Json::array();
  std::size_t next = 0;
  for (const Item& item : named) {
    const auto place = lived.find(identity(*item.value, key));
    while (place != lived.end() && next < others.size() && others[next].place < place->second)
      out.push_back(*others[next++].value);
    out.push_back(*item.value);
  }
  while (next < others.size()) out.push_back(*others[next++].value);
  return out;
}

Json merge_scalars(const Json& original, const Json& patch) {
  Json merged = Json::array();
  std::unordered_set<std::string> seen;
  for (const Json* list : {&original, &patch})
    for (const Json& item : *list)
      if (seen.insert(item.dump()).second) merged.push_back(list == &patch ? plain(item) : item);
  return merged;
}

// A list patch taken apart: elements that carry $patch steer, the others are merged.
struct ListPatch {
  Json elements = Json::array();
  std::unordered_set<std::string> deleted;
  bool replace = false;
};

Result<ListPatch> read_list_patch(const Json& patch, const std::string& key) {
  ListPatch out;
  for (const Json& element : patch) {
    if (!element.is_object()) return bad("a list of objects cannot be merged with a scalar");
    const std::string directive = TRY(directive_of(element));
    if (directive == "replace") {
      out.replace = true;
      // {"$patch": "replace"} alone is only a marker.
      if (element.size() > 1) out.elements.push_back(element);
      continue;
    }
    const std::string id = identity(element, key);
    if (id.empty()) return no_key(element, key);
    if (directive == "delete") {
      out.deleted.insert(id);
    } else {
      out.elements.push_back(element);
    }
  }
  return out;
}

// A patch may name an element more than once, and each time costs as much as the element has
// become.
Result<void> count_again(const Json& element, Budget& budget) {
  budget.merged_again += weigh(element).bytes;
  if (budget.merged_again <= kMostMergedAgain) return {};
  const std::string message = "the patch names the same list elements too often";
  return Error{Code::Invalid, message, {{"FieldValueInvalid", message, "patch"}}};
}

Result<Json> merge_objects(const Rule& rule, const Json& original, const ListPatch& patch,
                           Budget& budget) {
  Json merged = Json::array();
  for (const Json& item : original)
    if (!patch.deleted.contains(identity(item, rule.key))) merged.push_back(item);
  Places places = places_of(merged, rule.key);
  std::vector<bool> touched(merged.size());
  Rule element_rule;
  element_rule.type = rule.type;
  for (const Json& element : patch.elements) {
    const std::string id = identity(element, rule.key);
    const auto it = places.find(id);
    if (it != places.end()) {
      if (touched[it->second]) TRY(count_again(merged[it->second], budget));
      touched[it->second] = true;
      merged[it->second] = TRY(merge_value(element_rule, &merged[it->second], element, budget));
    } else {
      places.emplace(id, merged.size());
      touched.push_back(true);
      merged.push_back(TRY(merge_value(element_rule, nullptr, element, budget)));
    }
  }
  return merged;
}

// `order`: the field's $setElementOrder, or nullptr.
Result<Json> merge_list(const Rule& rule, const Json& original, const Json& patch,
                        const Json* order, Budget& budget) {
  if (rule.key.empty()) {
    const Json merged = merge_scalars(original, patch);
    return reorder(merged, order != nullptr ? *order : patch, original, "");
  }
  const ListPatch list = TRY(read_list_patch(patch, rule.key));
  if (list.replace) return plain(list.elements);
  const Json merged = TRY(merge_objects(rule, original, list, budget));
  return reorder(merged, order != nullptr ? *order : list.elements, original, rule.key);
}

// A merged list's patch, or its $setElementOrder alone.
Result<void> patch_list(const Rule& rule, const std::string& name, const Json& patch,
                        const Json* order, Json& document, Budget& budget) {
  const auto it = document.find(name);
  const Json original = it != document.end() && it->is_array() ? *it : Json::array();
  document[name] = TRY(merge_list(rule, original, patch, order, budget));
  return {};
}

Result<void> retain_keys(const Json& patch, Json& document) {
  const auto it = patch.find(kRetainKeys);
  if (it == patch.end()) return {};
  if (!it->is_array()) return bad("invalid patch format of retainKeys");
  std::unordered_set<std::string> kept;
  for (const Json& key : *it)
    if (key.is_string()) kept.insert(key.get<std::string>());
  for (const auto& [key, value] : patch.items()) {
    if (!is_directive(key) && !value.is_null() && !kept.contains(key))
      return bad("invalid patch format of retainKeys: \"" + key + "\" is not retained");
  }
  for (auto member = document.begin(); member != document.end();)
    member = kept.contains(member.key()) ? std::next(member) : document.erase(member);
  return {};
}

Result<void> delete_scalars(const Json& patch, Json& document) {
  for (const auto& [key, values] : patch.items()) {
    if (!key.starts_with(kDelete)) continue;
    if (!values.is_array()) return bad("invalid patch format of " + key.substr(0, 200));
    const auto list = document.find(key.substr(kDelete.size()));
    if (list == document.end() || !list->is_array()) continue;
    std::unordered_set<std::string> gone;
    for (const Json& value : values) gone.insert(value.dump());
    Json rest = Json::array();
    for (const Json& item : *list)
      if (!gone.contains(item.dump())) rest.push_back(item);
    *list = std::move(rest);
  }
  return {};
}

// Orders for lists that the patch itself leaves alone.
Result<void> order_untouched(const SchemaType* type, const Json& patch, Json& document,
                             Budget& budget) {
  for (const auto& [key, order] : patch.items()) {
    if (!key.starts_with(kOrder)) continue;
    if (!order.is_array()) return bad("invalid patch format of " + key.substr(0, 200));
    const std::string name = key.substr(kOrder.size());
    const Rule rule = rule_of(type, name);
    const auto list = document.find(name);
    if (!rule.merges_lists || patch.contains(name) || list == document.end() || !list->is_array())
      continue;
    TRY(patch_list(rule, name, Json::array(), &order, document, budget));
  }
  return {};
}

Result<void> merge_member(const SchemaType* type, const std::string& name, const Json& value,
                          const Json& patch, Json& document, Budget& budget) {
  const Rule rule = rule_of(type, name);
  if (value.is_array() && rule.merges_lists) {
    const auto order = patch.find(std::string(kOrder) + name);
    return patch_list(rule, name, value, order != patch.end() ? &*order : nullptr, document,
                      budget);
  }
  if (value.is_object() && TRY(directive_of(value)) == "delete") {
    document.erase(name);
    return {};
  }
  const auto it = document.find(name);
  document[name] = TRY(merge_value(rule, it == document.end() ? nullptr : &*it, value, budget));
  return {};
}

Result<Json> merge_map(const SchemaType* type, Json document, const Json& patch, Budget& budget) {
  const std::string directive = TRY(directive_of(patch));
  if (directive == "replace") return plain(patch);
  if (directive == "delete") return Json::object();
  TRY(retain_keys(patch, document));
  TRY(delete_scalars(patch, document));
  for (const auto& [key, value] : patch.items()) {
    if (is_directive(key)) continue;
    if (value.is_null()) {
      document.erase(key);
    } else {
      TRY(merge_member(type, key, value, patch, document, budget));
    }
  }
  TRY(order_untouched(type, patch, document, budget));
  return document;
}

Result<Json> merge_value(const Rule& rule, const Json* original, const Json& patch,
                         Budget& budget) {
  if (!patch.is_object()) return plain(patch);
  if (rule.replaces || original == nullptr || !original->is_object())
    return merge_map(rule.type, Json::object(), patch, budget);
  return merge_map(rule.type, *original, patch, budget);
}

}  // namespace

Result<Json> apply_strategic_merge_patch(const SchemaType& type, Json document, const Json& patch) {
  if (!patch.is_object()) return bad("a strategic merge patch is a JSON object");
  if (!document.is_object()) return bad("only an object can be patched");
  Budget budget;
  return merge_map(&type, std::move(document), patch, budget);
}

}  // namespace coracle
