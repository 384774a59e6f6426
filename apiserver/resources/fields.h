// Type-tolerant access to documents for the kinds' hooks: a wrong type reads as absent, so that
// nothing a client sends can trip a hook, whether or not a schema check came before.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace coracle {

// The member as an object, made when it is absent or of another type. REQUIRES: parent is an
// object.
inline nlohmann::json& object_in(nlohmann::json& parent, const char* key) {
  nlohmann::json& member = parent[key];
  if (!member.is_object()) member = nlohmann::json::object();
  return member;
}

// The member if it is an array of something, else an empty one.
inline const nlohmann::json& array_in(const nlohmann::json& parent, const char* key) {
  static const nlohmann::json kEmpty = nlohmann::json::array();
  if (!parent.is_object()) return kEmpty;
  const auto it = parent.find(key);
  return it != parent.end() && it->is_array() ? *it : kEmpty;
}

inline const nlohmann::json& object_at(const nlohmann::json& parent, const char* key) {
  static const nlohmann::json kEmpty = nlohmann::json::object();
  if (!parent.is_object()) return kEmpty;
  const auto it = parent.find(key);
  return it != parent.end() && it->is_object() ? *it : kEmpty;
}

inline bool has(const nlohmann::json& parent, const char* key) {
  if (!parent.is_object()) return false;
  const auto it = parent.find(key);
  return it != parent.end() && !it->is_null();
}

// Absent, null or the empty string: what Go clients send for "not set".
inline bool unset(const nlohmann::json& parent, const char* key) {
  if (!has(parent, key)) return true;
  const nlohmann::json& value = parent.at(key);
  return value.is_string() && value.get_ref<const std::string&>().empty();
}

inline void set_default(nlohmann::json& parent, const char* key, nlohmann::json value) {
  if (unset(parent, key)) parent[key] = std::move(value);
}

inline std::string text_in(const nlohmann::json& parent, const char* key) {
  if (!parent.is_object()) return "";
  const auto it = parent.find(key);
  return it != parent.end() && it->is_string() ? it->get<std::string>() : "";
}

inline std::int64_t number_in(const nlohmann::json& parent, const char* key,
                              std::int64_t otherwise = 0) {
  if (!parent.is_object()) return otherwise;
  const auto it = parent.find(key);
  return it != parent.end() && it->is_number_integer() ? it->get<std::int64_t>() : otherwise;
}

inline std::string indexed(const std::string& path, std::size_t index) {
  return path + "[" + std::to_string(index) + "]";
}

}  // namespace coracle
