#include "pods/hook.h"

#include <nlohmann/json.hpp>

namespace coracle::pods {
namespace {

Probe decode_http(const Json& http) {
  Probe out;
  out.kind = Probe::Kind::HttpGet;
  out.path = json_string(http, {"path"});
  out.host = json_string(http, {"host"});
  out.scheme = json_string(http, {"scheme"});
  out.port = json_int(http, {"port"});
  out.port_name = json_string(http, {"port"});
  out.http_headers = {{"User-Agent", "kube-lifecycle/1.33"}};
  const Json* headers = json_find(http, {"httpHeaders"});
  if (headers == nullptr || !headers->is_array()) return out;
  for (const Json& header : *headers)
    out.http_headers.emplace_back(json_string(header, {"name"}), json_string(header, {"value"}));
  return out;
}

}  // namespace

Hook decode_hook(const Json& container, const char* name) {
  Hook out;
  const Json* hook = json_find(container, {"lifecycle", name});
  if (hook == nullptr || !hook->is_object() || hook->empty()) return out;
  if (const Json* exec = json_find(*hook, {"exec"}); exec != nullptr) {
    out.kind = Hook::Kind::Exec;
    out.action.kind = Probe::Kind::Exec;
    const Json* command = json_find(*exec, {"command"});
    if (command != nullptr && command->is_array())
      for (const Json& word : *command)
        out.action.command.push_back(word.is_string() ? word.get<std::string>() : "");
  } else if (const Json* http = json_find(*hook, {"httpGet"}); http != nullptr) {
    out.kind = Hook::Kind::HttpGet;
    out.action = decode_http(*http);
  } else if (json_find(*hook, {"sleep"}) != nullptr) {
    out.kind = Hook::Kind::Sleep;
    out.seconds = json_int(*hook, {"sleep", "seconds"});
  } else {
    out.kind = Hook::Kind::Unsupported;
  }
  return out;
}

}  // namespace coracle::pods
