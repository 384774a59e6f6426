#include <apiserver/schema.h>

#include "server.h"

namespace coracle::fuzz {

void fuzz_json_body(Input input) {
  std::string_view body = text_of(input).substr(std::min<std::size_t>(3, input.size()));
  const auto parsed = parse_json_body(body);
  const auto object = Object::parse(body);
  if (parsed) {
    require_round_trips(parsed->document);
    require(
        object.has_value() == (parsed->document.is_object() && parsed->duplicate_fields.empty()),
        "both readers of JSON take the same objects");
  } else {
    require(!object, "both readers of JSON refuse the same texts");
  }
  send_body("application/json", text_of(input));
}

}  // namespace coracle::fuzz
