// Content negotiation: what a client accepts, and request bodies in the formats it may send. Pure.
#pragma once

#include <coracle/client.h>
#include <coracle/object.h>
#include <coracle/result.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "schema.h"

namespace coracle {

// How objects are to be answered.
struct Accepted {
  enum class Shape { Object, Table, PartialMetadata, PartialMetadataList, Aggregated };
  Shape shape = Shape::Object;
  std::string version =
      "v1";  // of the shape: Table v1 or v1beta1, aggregated discovery v2 or v2beta1
  bool yaml = false;
};
// One element of an Accept header or a Content-Type: "application/json;as=Table;v=v1".
struct MediaType {
  std::string type;  // lower case
  std::vector<std::pair<std::string, std::string>> params;
  std::string param(std::string_view name) const;
};
MediaType parse_media_type(std::string_view text);
// Best first: by q, then in the client's order.
std::vector<MediaType> parse_accept(std::string_view header);

// What a path has to give: objects and lists, a stream of events (which is JSON), or discovery.
enum class Offer { Objects, Stream, Discovery };
// The first of the client's choices that this can be answered in. NotAcceptable, naming what works.
Result<Accepted> negotiate(std::string_view accept_header, Offer offer);

// A request body by its Content-Type; none means JSON. UnsupportedMediaType, naming what works.
Result<ParsedBody> parse_body(std::string_view content_type, std::string_view body);
// UnsupportedMediaType, naming what works.
Result<PatchType> patch_type(std::string_view content_type);

// As YAML: block style, strings quoted where they must be.
std::string to_yaml(const Json& document);

}  // namespace coracle
