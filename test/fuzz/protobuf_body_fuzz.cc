#include <apiserver/schema.h>

#include "server.h"

namespace coracle::fuzz {
namespace {

// The decoder follows the schema, so that only texts with a grammar of their own may be refused.
void require_well_typed(Json document) {
  const SchemaType* type = Schema::instance().find_kind(json_string(document, {"apiVersion"}),
                                                        json_string(document, {"kind"}));
  require(type != nullptr, "a decoded document has a type");
  const auto report = check_document(*type, document, FieldValidation::Strict, {});
  const std::string why = report ? "" : report.error().message;
  require(why.find("unknown field") == std::string::npos &&
              why.find("cannot unmarshal") == std::string::npos,
          "a decoded document is of its type: " + why);
}

}  // namespace

void fuzz_protobuf_body(Input input) {
  std::string_view body = text_of(input).substr(std::min<std::size_t>(3, input.size()));
  if (const auto parsed = parse_protobuf_body(body)) {
    require_round_trips(parsed->document);
    require_well_typed(parsed->document);
  }
  send_body("application/vnd.kubernetes.protobuf", text_of(input));
}

}  // namespace coracle::fuzz
