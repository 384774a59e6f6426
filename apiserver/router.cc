#include "router.h"

#include <algorithm>
#include <array>

namespace coracle {
namespace {

constexpr std::string_view kNoSuchPath = "the server could not find the requested resource";

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7f;
  });
}

Result<std::string> decode_segment(std::string_view raw) {
  auto segment = percent_decode(raw, false);
  if (!segment) return Error{Code::BadRequest, "the path has a broken percent escape"};
  if (segment->find('/') != std::string::npos || segment->find('\\') != std::string::npos)
    return Error{Code::BadRequest, "the path has an encoded slash"};
  if (*segment == "." || *segment == "..")
    return Error{Code::BadRequest, "the path has a dot segment"};
  if (has_control(*segment)) return Error{Code::BadRequest, "the path has a control character"};
  return std::move(*segment);
}

using Segments = std::vector<std::string>;

Result<Segments> split_path(std::string_view raw) {
  if (raw.empty() || raw.front() != '/')
    return Error{Code::BadRequest, "the path does not start with a slash"};
  raw.remove_prefix(1);
  if (!raw.empty() && raw.back() == '/') raw.remove_suffix(1);  // "/api/" is "/api"
  Segments out;
  while (!raw.empty()) {
    const std::size_t slash = std::min(raw.find('/'), raw.size());
    out.push_back(TRY(decode_segment(raw.substr(0, slash))));
    if (slash == raw.size()) break;
    raw.remove_prefix(slash + 1);
    if (raw.empty()) out.emplace_back();  // "a//": an empty segment, which nothing matches
  }
  return out;
}

std::string join(const Segments& path, std::size_t from) {
  std::string out;
  for (std::size_t i = from; i < path.size(); ++i) out += (i == from ? "" : "/") + path[i];
  return out;
}

// What follows it is the node's.
bool is_node_proxy(const ApiPath& route, const Segments& rest) {
  return route.group.empty() && route.ns.empty() && !route.watch && rest.size() >= 3 &&
         rest[0] == "nodes" && rest[2] == "proxy";
}

// `rest` is what follows the group and version.
ApiPath resource_route(ApiPath route, Segments rest) {
  route.target = ApiPath::Target::Unknown;
  for (const std::string& segment : rest)
    if (segment.empty()) return route;
  if (!rest.empty() && rest[0] == "watch") {
    route.watch = true;
    rest.erase(rest.begin());
    if (rest.empty()) return route;
  }
  // namespaces/x and namespaces/x/status are the Namespace itself; anything else below it lies in
  // it.
  const bool itself = rest.size() < 3 || rest[2] == "status" || rest[2] == "finalize";
  if (rest[0] == "namespaces" && !itself) {
    route.ns = rest[1];
    rest.erase(rest.begin(), rest.begin() + 2);
  }
  if (rest.size() > 3 && !is_node_proxy(route, rest)) return route;
  route.plural = rest[0];
  if (rest.size() > 1) route.name = rest[1];
  if (rest.size() > 2) route.subresource = rest[2];
  route.extra = join(rest, 3);
  route.target = ApiPath::Target::Resource;
  return route;
}

ApiPath api_route(const Segments& path) {
  ApiPath route;
  const bool core = path[0] == "api";
  const std::size_t prefix = core ? 2 : 3;
  if (path.size() == 1) {
    route.target = core ? ApiPath::Target::CoreVersions : ApiPath::Target::Groups;
    return route;
  }
  if (!core) route.group = path[1];
  if (!core && path.size() == 2) {
    route.target = ApiPath::Target::Group;
    return route;
  }
  route.version = path[prefix - 1];
  if (route.version.empty() || (!core && route.group.empty())) return {};
  route.target = ApiPath::Target::ResourceList;
  if (path.size() == prefix) return route;
  return resource_route(route,
                        Segments(path.begin() + static_cast<std::ptrdiff_t>(prefix), path.end()));
}

}  // namespace

std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_space) {
      out += ' ';
    } else if (text[i] != '%') {
      out += text[i];
    } else {
      if (i + 2 >= text.size()) return std::nullopt;
      const int high = hex_digit(text[i + 1]);
      const int low = hex_digit(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      out += static_cast<char>(high * 16 + low);
      i += 2;
    }
  }
  return out;
}

Result<Query> Query::parse(std::string_view text) {
  Query query;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('&'), text.size());
    const std::string_view pair = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (pair.empty()) continue;
    const std::size_t equals = std::min(pair.find('='), pair.size());
    auto name = percent_decode(pair.substr(0, equals), true);
    auto value = percent_decode(pair.substr(std::min(equals + 1, pair.size())), true);
    if (!name || !value)
      return Error{Code::BadRequest, "the query string has a broken percent escape"};
    query.set(std::move(*name), std::move(*value));
  }
  return query;
}

void Query::set(std::string name, std::string value) {
  values_.emplace_back(std::move(name), std::move(value));
}

bool Query::has(std::string_view name) const {
  return std::any_of(values_.begin(), values_.end(),
                     [&](const auto& v) { return v.first == name; });
}

std::string Query::get(std::string_view name) const {
  for (const auto& [key, value] : values_)
    if (key == name) return value;
  return "";
}

std::vector<std::string> Query::all(std::string_view name) const {
  std::vector<std::string> out;
  for (const auto& [key, value] : values_)
    if (key == name) out.push_back(value);
  return out;
}

bool Query::flag(std::string_view name) const {
  if (!has(name)) return false;
  const std::string value = get(name);
  return value != "false" && value != "0" && value != "False" && value != "FALSE";
}

std::string verb_name(Verb verb) {
  switch (verb) {
    case Verb::Get:
      return "get";
    case Verb::List:
      return "list";
    case Verb::Watch:
      return "watch";
    case Verb::Create:
      return "create";
    case Verb::Update:
      return "update";
    case Verb::Patch:
      return "patch";
    case Verb::Delete:
      return "delete";
    case Verb::DeleteCollection:
      return "deletecollection";
  }
  return "";
}

Result<ApiPath> parse_route(std::string_view raw_path) {
  const Segments path = TRY(split_path(raw_path));
  ApiPath route;
  if (path.empty()) {
    route.target = ApiPath::Target::Root;
    return route;
  }
  const std::string& first = path[0];
  if (first == "api" || first == "apis") return api_route(path);
  if (first == "version" && path.size() == 1) route.target = ApiPath::Target::Version;
  if (first == "metrics" && path.size() == 1) route.target = ApiPath::Target::Metrics;
  if (first == "cacerts" && path.size() == 1) route.target = ApiPath::Target::CaCertificates;
  if (first == "coracle" && path.size() == 3 && path[1] == "v1" && path[2] == "join")
    route.target = ApiPath::Target::Join;
  if ((first == "healthz" || first == "livez" || first == "readyz") && path.size() <= 2) {
    route.target = ApiPath::Target::Health;
    route.extra = join(path, 0);
  }
  if (first == "openapi" && path.size() == 2 && path[1] == "v2")
    route.target = ApiPath::Target::OpenApiV2;
  if (first == "openapi" && path.size() >= 2 && path[1] == "v3") {
    route.target =
        path.size() == 2 ? ApiPath::Target::OpenApiV3 : ApiPath::Target::OpenApiV3Document;
    route.extra = join(path, 2);
  }
  return route;
}

Result<Verb> verb_of(std::string_view method, const ApiPath& route, const Query& query) {
  const bool named = !route.name.empty();
  const bool watch = (route.watch || query.flag("watch")) && route.subresource.empty();
  const bool read = method == "GET" || method == "HEAD";
  if (read && watch) return Verb::Watch;
  if (route.watch) return Error{Code::NotFound, std::string(kNoSuchPath)};
  if (read) return named ? Verb::Get : Verb::List;
  if (method == "POST" && (!named || !route.subresource.empty())) return Verb::Create;
  if (method == "PUT" && named) return Verb::Update;
  if (method == "PATCH" && named) return Verb::Patch;
  if (method == "DELETE" && route.subresource.empty())
    return named ? Verb::Delete : Verb::DeleteCollection;
  return Error{Code::MethodNotAllowed,
               "the server does not allow this method on the requested resource"};
}

}  // namespace coracle
