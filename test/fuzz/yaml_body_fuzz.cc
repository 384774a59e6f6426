#include <apiserver/schema.h>

#include "server.h"

namespace coracle::fuzz {

void fuzz_yaml_body(Input input) {
  std::string_view body = text_of(input).substr(std::min<std::size_t>(3, input.size()));
  if (const auto parsed = parse_yaml_body(body)) require_round_trips(parsed->document);
  send_body("application/yaml", text_of(input));
}

}  // namespace coracle::fuzz
