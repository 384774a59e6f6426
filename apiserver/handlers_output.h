// Objects and lists as the client asked to see them: plain, as a Table, or only their metadata.
#pragma once

#include <coracle/clock.h>
#include <coracle/object.h>
#include <coracle/result.h>

#include <string>

#include "handlers_media.h"
#include "http_server.h"
#include "print_table.h"
#include "registry.h"
#include "router.h"

namespace coracle {

struct OutputOptions {
  Accepted accepted;
  IncludeObject include = IncludeObject::Metadata;
  bool pretty = false;
};
// Accept, includeObject and pretty of a request.
Result<OutputOptions> output_options(const HttpRequest& request, const Query& query, Offer offer);

HttpResponse json_response(int code, const Json& document, const OutputOptions& output);
HttpResponse object_response(int code, const ResourceKind& kind, const Json& object,
                             const OutputOptions& output, const Clock& clock);
// Splices the entries' texts without parsing them where it can.
HttpResponse list_response(const ResourceKind& kind, const ListPage& page,
                           const OutputOptions& output, const Clock& clock);

Json partial_metadata(const Json& object, const std::string& version);
Json table_of(const ResourceKind& kind, const std::string& version, Json metadata);
Json parse_stored(const std::string& text);
// Appends the object's text without its top-level kind and apiVersion, as items of typed lists are.
// REQUIRES: an object without spaces between its members, as all that is stored.
void append_without_type(std::string_view object, std::string& out);

}  // namespace coracle
