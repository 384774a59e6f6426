// Patches of all three types: on documents of the input's own, and through the server on an object
// of every kind.
#include <apiserver/schema.h>

#include <algorithm>

#include "server.h"

namespace coracle::fuzz {
namespace {

constexpr const char* kContentTypes[] = {"application/merge-patch+json",
                                         "application/json-patch+json",
                                         "application/strategic-merge-patch+json"};

bool has_directive(const Json& value) {
  if (!value.is_structured()) return false;
  for (const auto& [key, item] : value.items()) {
    const bool steers = key == "$patch" || key == "$retainKeys" ||
                        key.starts_with("$setElementOrder/") ||
                        key.starts_with("$deleteFromPrimitiveList/");
    if (value.is_object() && steers) return true;
    if (has_directive(item)) return true;
  }
  return false;
}

Result<Json> apply(std::size_t type, const SchemaType& schema, const Json& document,
                   const Json& patch) {
  if (type == 0) return apply_json_merge_patch(document, patch);
  if (type == 1) return apply_json_patch(document, patch);
  return apply_strategic_merge_patch(schema, document, patch);
}

void patch_document(std::size_t type, const SchemaType& schema, std::string_view document,
                    std::string_view patch) {
  const auto from = parse_json_body(document);
  const auto with = parse_json_body(patch);
  if (!from || !with) return;
  const auto patched = apply(type, schema, from->document, with->document);
  if (!patched) return;
  require_round_trips(*patched);
  if (type == 0) {
    const auto twice = apply(type, schema, *patched, with->document);
    require(twice && *twice == *patched, "a merge patch applied twice is applied once");
  }
  if (type == 2 && !has_directive(from->document)) {
    require(!has_directive(*patched), "no directive stays in what was patched");
  }
}

}  // namespace

void fuzz_patch(Input input) {
  std::string_view text = text_of(input);
  Server& server = Server::instance();
  const std::size_t type = take_choice(text, std::size(kContentTypes));
  const Example& example = server.examples()[take_choice(text, server.examples().size())];
  const std::size_t end = text.find('\0');
  if (end != std::string_view::npos) {
    const SchemaType* schema = Schema::instance().find(example.kind->schema_type);
    require(schema != nullptr, "a kind has a schema");
    patch_document(type, *schema, text.substr(0, end), text.substr(end + 1));
    return;
  }
  const std::string path =
      collection_path(example.kind->resource, example.key.ns) + "/" + example.key.name;
  for (const char* subresource : {"", "/status"}) {
    const auto response = server.ask({.method = "PATCH",
                                      .path = path + subresource,
                                      .query = "dryRun=All",
                                      .content_type = kContentTypes[type],
                                      .body = std::string(text)});
    if (response.code >= 300) continue;
    Json object = Json::parse(response.body);
    require_round_trips(object);
    const Json before = object;
    if (example.kind->apply_defaults) example.kind->apply_defaults(object);
    require(object == before, "defaults set twice are defaults set once");
  }
}

}  // namespace coracle::fuzz
