#include <apiserver/router.h>

#include <algorithm>

#include "server.h"

namespace coracle::fuzz {
namespace {

std::string encoded(std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    out += {'%', kHex[byte >> 4U], kHex[byte & 15U]};
  }
  return out;
}

// What lies between slashes.
std::vector<std::string> parts_of(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    const std::size_t slash = std::min(path.find('/'), path.size());
    parts.emplace_back(path.substr(0, slash));
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return parts;
}

// The path that a route comes from, every byte encoded.
std::string path_of(const ApiPath& route) {
  std::string path = route.group.empty() ? "/api" : "/apis/" + encoded(route.group);
  path += "/" + encoded(route.version);
  if (route.watch) path += "/watch";
  if (!route.ns.empty()) path += "/namespaces/" + encoded(route.ns);
  for (const std::string& part : {route.plural, route.name, route.subresource})
    if (!part.empty()) path += "/" + encoded(part);
  for (const std::string& part : parts_of(route.extra)) path += "/" + encoded(part);
  return path;
}

void require_route(std::string_view path) {
  const auto route = parse_route(path);
  if (!route || route->target != ApiPath::Target::Resource) return;
  require(!route->version.empty() && !route->plural.empty(), "a resource has a version and a name");
  require(route->subresource.empty() || !route->name.empty(), "a subresource is of something");
  require(route->extra.empty() || (route->plural == "nodes" && route->subresource == "proxy"),
          "only a node is asked for more");
  std::vector<std::string> parts = parts_of(route->extra);
  for (const std::string& part : parts) require(!part.empty(), "nothing is left out");
  parts.insert(parts.end(), {route->group, route->version, route->plural, route->ns, route->name,
                             route->subresource});
  for (const std::string& part : parts) {
    require(part.find('/') == std::string::npos && part != "." && part != ".." &&
                part.find('\0') == std::string::npos,
            "no part of a path is another path");
  }
  const auto again = parse_route(path_of(*route));
  require(again && *again == *route, "a path encoded in full is the same path");
}

void require_query(std::string_view text) {
  const auto query = Query::parse(text);
  if (!query) return;
  for (const char* name : {"watch", "limit", "dryRun", ""}) {
    require(query->has(name) == !query->all(name).empty(), "what is there has values");
    require(!query->has(name) || query->all(name).front() == query->get(name), "the first counts");
    require(query->has(name) || !query->flag(name), "what is absent is no flag");
  }
}

}  // namespace

void fuzz_router(Input input) {
  std::string_view text = text_of(input);
  const std::size_t space = std::min(text.find(' '), text.size());
  const std::string method(text.substr(0, space));
  text.remove_prefix(std::min(space + 1, text.size()));
  const std::size_t mark = std::min(text.find('?'), text.size());
  const std::string_view path = text.substr(0, mark);
  const std::string_view query = text.substr(std::min(mark + 1, text.size()));
  require_route(path);
  require_query(query);
  require(percent_decode(encoded(path), false) == std::string(path), "decoding undoes encoding");
  const auto response = Server::instance().ask(
      {.method = method, .path = std::string(path), .query = std::string(query)});
  if (response.code < 300 && method != "GET" && method != "HEAD" && method != "OPTIONS")
    Server::instance().renew();
}

}  // namespace coracle::fuzz
