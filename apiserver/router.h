// From a request line to what it asks for. Pure: knows the shape of URLs, not which kinds exist.
#pragma once

#include <coracle/result.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace coracle {

// Query parameters, decoded, in the order they were sent.
class Query {
 public:
  // BadRequest on a broken percent escape.
  static Result<Query> parse(std::string_view text);
  bool has(std::string_view name) const;
  // The first value, "" when absent.
  std::string get(std::string_view name) const;
  std::vector<std::string> all(std::string_view name) const;
  // Absent or "" is `otherwise`-free: a parameter without a value counts as true, as in Go's API
  // server.
  bool flag(std::string_view name) const;
  void set(std::string name, std::string value);

 private:
  std::vector<std::pair<std::string, std::string>> values_;
};

// What a path names. (Not "Route": the node has those, and all of us share one namespace.)
struct ApiPath {
  enum class Target {
    Unknown,
    Root,
    Version,
    Health,
    OpenApiV2,
    OpenApiV3,
    OpenApiV3Document,
    CoreVersions,  // /api
    Groups,        // /apis
    Group,         // /apis/<group>
    ResourceList,  // /api/v1, /apis/<group>/<version>
    Metrics,
    CaCertificates,  // /cacerts
    Join,            // /coracle/v1/join
    Resource,
  };
  Target target = Target::Unknown;
  std::string group, version, plural, ns, name, subresource;
  // Health: "livez" and a check; OpenApiV3Document: "apis/apps/v1"; nodes/NAME/proxy: what follows
  // it, decoded, "metrics/cadvisor".
  std::string extra;
  bool watch = false;  // the legacy /api/v1/watch/... form
  bool operator==(const ApiPath&) const = default;
};

enum class Verb { Get, List, Watch, Create, Update, Patch, Delete, DeleteCollection };
std::string verb_name(Verb verb);

// The raw, undecoded path. BadRequest for an encoded slash, a dot segment (plain or encoded), a
// control character or a broken escape: such a path is never turned into another. Unknown shapes
// have Target::Unknown.
Result<ApiPath> parse_route(std::string_view raw_path);

// What the method means on a Resource route. MethodNotAllowed when it means nothing there.
Result<Verb> verb_of(std::string_view method, const ApiPath& route, const Query& query);

// Percent-decodes. nullopt on a broken escape. `plus_is_space` as in query strings.
std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space);

}  // namespace coracle
