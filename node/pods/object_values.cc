#include "pods/object_values.h"

#include <nlohmann/json.hpp>

namespace coracle::pods {

std::string decode_base64(const std::string& text) {
  static const std::string digits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  unsigned bits = 0;
  int count = 0;
  for (const char c : text) {
    const std::size_t digit = digits.find(c);
    if (digit == std::string::npos) break;
    bits = (bits << 6 | static_cast<unsigned>(digit)) & 0xffffff;
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out.push_back(static_cast<char>(bits >> count & 0xff));
  }
  return out;
}

std::map<std::string, std::string> object_values(const Resource& resource, const Object& object,
                                                 bool binary) {
  std::map<std::string, std::string> out = json_string_map(object.json(), {"data"});
  if (resource == resources::kSecrets)
    for (auto& [key, value] : out) value = decode_base64(value);
  if (binary)
    for (const auto& [key, value] : json_string_map(object.json(), {"binaryData"}))
      out[key] = decode_base64(value);
  return out;
}

Error not_found(const Resource& resource, const std::string& name) {
  const char* kind = resource == resources::kSecrets ? "secret" : "configmap";
  return {Code::NotFound, std::string(kind) + " \"" + name + "\" not found"};
}

}  // namespace coracle::pods
