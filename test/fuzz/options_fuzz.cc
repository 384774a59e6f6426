// What a request says beside its path and body: query options, Accept, Content-Type, and the token
// that continues a list.
#include <apiserver/handlers_media.h>
#include <apiserver/handlers_options.h>
#include <apiserver/registry_pages.h>

#include "server.h"

namespace coracle::fuzz {
namespace {

void require_options(const Query& query) {
  for (const char* name : {"", "web"}) {
    ApiPath route;
    route.ns = "default";
    route.name = name;
    if (const auto list = list_options(query, route)) {
      require(list->at_least >= 0 && list->exact >= 0, "no revision is negative");
      if (route.name.empty()) continue;
      const auto& terms = list->fields.terms();
      require(!terms.empty() && terms.back().field == "metadata.name" &&
                  terms.back().value == route.name,
              "a list of one object is of that object");
    }
    if (const auto watch = watch_options(query, route)) {
      require(watch->from >= 0, "a watch begins at a revision");
      require(!watch->timeout || watch->timeout->count() > 0, "a watch lasts");
    }
  }
  if (const auto write = write_options(query, "UpdateOptions"))
    require(write->field_manager.size() <= 128, "a manager's name is short");
  (void)field_validation(query, "UpdateOptions").has_value();
  if (const auto remove = remove_options(query, nullptr))
    require(remove->options.grace_period_seconds.value_or(0) >= 0, "no grace is negative");
}

void require_media(std::string_view accept, std::string_view content_type) {
  require(parse_accept(accept).size() <= 64, "few choices are looked at");
  (void)negotiate(accept, Offer::Discovery).has_value();
  (void)negotiate(accept, Offer::Stream).has_value();
  if (const auto chosen = negotiate(accept, Offer::Objects))
    require(chosen->shape != Accepted::Shape::Aggregated, "objects are not discovery");
  (void)patch_type(content_type).has_value();
  (void)parse_body(content_type, "{}").has_value();
}

void require_token(std::string_view text) {
  if (const auto token = decode_continue(std::string(text))) {
    const auto again = decode_continue(encode_continue(*token));
    require(again && again->revision == token->revision && again->last_key == token->last_key,
            "a token is what was put in");
  }
}

}  // namespace

void fuzz_options(Input input) {
  std::string_view text = text_of(input);
  const std::string_view query_text = take_line(text);
  const std::string_view accept = take_line(text);
  const std::string_view content_type = take_line(text);
  const auto query = Query::parse(query_text);
  if (query) require_options(*query);
  require_media(accept, content_type);
  require_token(take_line(text));
  for (const char* path : {"/api/v1/namespaces/default/pods", "/api/v1/nodes/worker-1", "/apis"}) {
    Server::instance().ask({.method = "GET",
                            .path = path,
                            .query = std::string(query_text),
                            .content_type = std::string(content_type),
                            .accept = std::string(accept)});
  }
}

}  // namespace coracle::fuzz
