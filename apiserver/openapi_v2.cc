// A v2 document in the protobuf of gnostic's OpenAPIv2.proto, which is the only form kubectl reads.
#include <nlohmann/json.hpp>

#include "openapi.h"
#include "protobuf.h"

namespace coracle::openapi {
namespace {

using protobuf::append_bytes;
using protobuf::append_integer;

std::string text_of(const Json& json) {
  return json.is_string() ? json.get<std::string>() : std::string();
}

// NamedX {name = 1, value = 2}
std::string named(const std::string& name, std::string_view value) {
  std::string out;
  append_bytes(out, 1, name);
  append_bytes(out, 2, value);
  return out;
}

// Any {yaml = 2}
std::string any(const Json& value) {
  std::string out;
  append_bytes(out, 2, value.dump());
  return out;
}

void append_extensions(std::string& out, int number, const Json& json) {
  for (const auto& [key, value] : json.items())
    if (key.starts_with("x-")) append_bytes(out, number, named(key, any(value)));
}

void append_text(std::string& out, int number, const Json& json, const char* key) {
  const auto it = json.find(key);
  if (it != json.end() && it->is_string()) append_bytes(out, number, text_of(*it));
}

std::string schema(const Json& json);

// A message whose only field is a schema (items, additionalProperties).
std::string wrapped_schema(const Json& json) {
  std::string out;
  append_bytes(out, 1, schema(json));
  return out;
}

std::string named_schemas(const Json& json) {
  std::string out;
  for (const auto& [name, value] : json.items()) append_bytes(out, 1, named(name, schema(value)));
  return out;
}

std::string schema(const Json& json) {
  std::string out;
  append_text(out, 1, json, "$ref");
  append_text(out, 2, json, "format");
  append_text(out, 4, json, "description");
  if (const auto it = json.find("default"); it != json.end()) append_bytes(out, 5, any(*it));
  if (const auto it = json.find("required"); it != json.end())
    for (const Json& name : *it) append_bytes(out, 19, text_of(name));
  if (const auto it = json.find("enum"); it != json.end())
    for (const Json& value : *it) append_bytes(out, 20, any(value));
  if (const auto it = json.find("additionalProperties"); it != json.end())
    append_bytes(out, 21, wrapped_schema(*it));
  if (const auto it = json.find("type"); it != json.end()) {
    std::string type;
    append_bytes(type, 1, text_of(*it));
    append_bytes(out, 22, type);
  }
  if (const auto it = json.find("items"); it != json.end())
    append_bytes(out, 23, wrapped_schema(*it));
  if (const auto it = json.find("properties"); it != json.end())
    append_bytes(out, 25, named_schemas(*it));
  append_extensions(out, 31, json);
  return out;
}

// ParametersItem {parameter = 1 {body = 1 | non_body = 2}}
std::string parameter(const Json& json) {
  std::string body;
  const std::string in = text_of(json["in"]);
  if (in == "body") {
    std::string message;
    append_bytes(message, 2, in);
    append_text(message, 3, json, "name");
    append_bytes(message, 5, schema(json["schema"]));
    append_bytes(body, 1, message);
  } else {
    std::string message;
    const bool path = in == "path";
    if (path) append_integer(message, 1, 1);  // required
    append_bytes(message, 2, in);
    append_text(message, 3, json, "description");
    append_text(message, 4, json, "name");
    append_text(message, path ? 5 : 6, json, "type");
    std::string non_body;
    append_bytes(non_body, path ? 4 : 3, message);
    append_bytes(body, 2, non_body);
  }
  std::string out;
  append_bytes(out, 1, body);
  return out;
}

// Responses {response_code = 1 NamedResponseValue}; ResponseValue {response = 1 {description = 1,
// schema = 2}}
std::string responses(const Json& json) {
  std::string out;
  for (const auto& [code, answer] : json.items()) {
    std::string response;
    append_text(response, 1, answer, "description");
    if (const auto it = answer.find("schema"); it != answer.end())
      append_bytes(response, 2, wrapped_schema(*it));
    std::string value;
    append_bytes(value, 1, response);
    append_bytes(out, 1, named(code, value));
  }
  return out;
}

std::string operation(const Json& json) {
  std::string out;
  append_text(out, 3, json, "description");
  append_text(out, 5, json, "operationId");
  append_bytes(out, 6, "application/json");
  if (const auto it = json.find("consumes"); it != json.end())
    for (const Json& type : *it) append_bytes(out, 7, text_of(type));
  for (const Json& item : json["parameters"]) append_bytes(out, 8, parameter(item));
  append_bytes(out, 9, responses(json["responses"]));
  append_extensions(out, 13, json);
  return out;
}

std::string path_item(const Json& json) {
  static constexpr std::pair<const char*, int> kMethods[] = {
      {"get", 2}, {"put", 3}, {"post", 4}, {"delete", 5}, {"patch", 8}};
  std::string out;
  for (const auto& [method, number] : kMethods)
    if (const auto it = json.find(method); it != json.end())
      append_bytes(out, number, operation(*it));
  if (const auto it = json.find("parameters"); it != json.end())
    for (const Json& item : *it) append_bytes(out, 9, parameter(item));
  return out;
}

}  // namespace

std::string encode_v2(const Json& document) {
  std::string info;
  append_text(info, 1, document["info"], "title");
  append_text(info, 2, document["info"], "version");
  std::string paths;
  for (const auto& [path, item] : document["paths"].items())
    append_bytes(paths, 2, named(path, path_item(item)));
  std::string out;
  append_text(out, 1, document, "swagger");
  append_bytes(out, 2, info);
  append_bytes(out, 8, paths);
  append_bytes(out, 9, named_schemas(document["definitions"]));
  return out;
}

}  // namespace coracle::openapi
