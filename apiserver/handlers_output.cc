#include "handlers_output.h"

#include <nlohmann/json.hpp>

namespace coracle {
namespace {

std::string text_of(const Json& document, int indent) {
  return document.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n";
}

bool is_human(const HttpRequest& request) {
  const std::string agent = request.header("User-Agent");
  return agent.starts_with("curl/") || agent.starts_with("Mozilla/") || agent.starts_with("Wget/");
}

Json list_metadata(const ListPage& page) {
  Json metadata = {{"resourceVersion", std::to_string(page.revision)}};
  if (!page.continue_token.empty()) metadata["continue"] = page.continue_token;
  if (page.remaining) metadata["remainingItemCount"] = *page.remaining;
  return metadata;
}

// Past the string that starts at `at`, or the end of the text.
std::size_t skip_string(std::string_view text, std::size_t at) {
  for (++at; at < text.size() && text[at] != '"'; ++at)
    if (text[at] == '\\') ++at;
  return std::min(at + 1, text.size());
}

// Past the value that starts at `at`: up to the comma or brace that ends it.
std::size_t skip_value(std::string_view text, std::size_t at) {
  int depth = 0;
  while (at < text.size()) {
    const char c = text[at];
    if (c == '"') {
      at = skip_string(text, at);
      continue;
    }
    if (depth == 0 && (c == ',' || c == '}')) return at;
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    ++at;
  }
  return at;
}

HttpResponse spliced_list(const ResourceKind& kind, const ListPage& page) {
  HttpResponse response;
  std::size_t size = 256;
  for (const EntryPtr& entry : page.entries) size += entry->value.size() + 1;
  response.body.reserve(size);
  // Added, not assigned, which would give up what is reserved.
  response.body += R"({"kind":")" + kind.resource.kind + R"(List","apiVersion":")" +
                   kind.resource.api_version() + R"(","metadata":)" + list_metadata(page).dump() +
                   R"(,"items":[)";
  bool first = true;
  for (const EntryPtr& entry : page.entries) {
    if (!first) response.body += ',';
    first = false;
    append_without_type(entry->value, response.body);
  }
  response.body += "]}\n";
  return response;
}

Json plain_list(const ResourceKind& kind, const ListPage& page) {
  Json items = Json::array();
  for (const EntryPtr& entry : page.entries) {
    Json item = parse_stored(entry->value);
    item.erase("kind");
    item.erase("apiVersion");
    items.push_back(std::move(item));
  }
  return {{"kind", kind.resource.kind + "List"},
          {"apiVersion", kind.resource.api_version()},
          {"metadata", list_metadata(page)},
          {"items", std::move(items)}};
}

Json partial_list(const ListPage& page, const std::string& version) {
  Json items = Json::array();
  for (const EntryPtr& entry : page.entries)
    items.push_back(partial_metadata(parse_stored(entry->value), version));
  return {{"kind", "PartialObjectMetadataList"},
          {"apiVersion", "meta.k8s.io/" + version},
          {"metadata", list_metadata(page)},
          {"items", std::move(items)}};
}

Result<IncludeObject> include_of(const Query& query) {
  const std::string text = query.get("includeObject");
  if (text.empty() || text == "Metadata") return IncludeObject::Metadata;
  if (text == "None") return IncludeObject::None;
  if (text == "Object") return IncludeObject::Object;
  return Error{Code::BadRequest, "unrecognized includeObject value: \"" + text + "\""};
}

}  // namespace

Json parse_stored(const std::string& text) {
  Json document = Json::parse(text, nullptr, false);
  return document.is_object() ? document : Json::object();
}

void append_without_type(std::string_view object, std::string& out) {
  out += '{';
  const std::size_t begin = out.size();
  std::size_t at = object.empty() ? 0 : 1;
  // They come first, as a rule: what follows both need not be looked at.
  for (int left = 2; left > 0 && at < object.size() && object[at] == '"';) {
    const std::size_t name_end = skip_string(object, at);
    const std::string_view name = object.substr(at, name_end - at);
    const std::size_t end = skip_value(object, name_end);
    if (name == "\"kind\"" || name == "\"apiVersion\"") {
      --left;
    } else {
      if (out.size() > begin) out += ',';
      out.append(object.substr(at, end - at));
    }
    if (end >= object.size() || object[end] == '}') {
      out += '}';
      return;
    }
    at = end + 1;  // past the comma
  }
  if (out.size() > begin) out += ',';
  out.append(object.substr(at));
}

Json partial_metadata(const Json& object, const std::string& version) {
  const Json* metadata = json_find(object, {"metadata"});
  return {{"kind", "PartialObjectMetadata"},
          {"apiVersion", "meta.k8s.io/" + version},
          {"metadata", metadata == nullptr ? Json::object() : *metadata}};
}

Json table_of(const ResourceKind& kind, const std::string& version, Json metadata) {
  return {{"kind", "Table"},
          {"apiVersion", "meta.k8s.io/" + version},
          {"metadata", std::move(metadata)},
          {"columnDefinitions", table_columns(kind)},
          {"rows", Json::array()}};
}

Result<OutputOptions> output_options(const HttpRequest& request, const Query& query, Offer offer) {
  OutputOptions output;
  output.accepted = TRY(negotiate(request.header("Accept"), offer));
  output.include = TRY(include_of(query));
  output.pretty = query.has("pretty") ? query.flag("pretty") : is_human(request);
  return output;
}

HttpResponse json_response(int code, const Json& document, const OutputOptions& output) {
  HttpResponse response;
  response.code = code;
  if (output.accepted.yaml) {
    response.content_type = "application/yaml";
    response.body = to_yaml(document);
  } else {
    response.body = text_of(document, output.pretty ? 2 : -1);
  }
  return response;
}

HttpResponse object_response(int code, const ResourceKind& kind, const Json& object,
                             const OutputOptions& output, const Clock& clock) {
  const std::string& version = output.accepted.version;
  switch (output.accepted.shape) {
    case Accepted::Shape::Table: {
      Json table =
          table_of(kind, version,
                   {{"resourceVersion", json_string(object, {"metadata", "resourceVersion"})}});
      table["rows"].push_back(table_row(kind, object, output.include, clock));
      return json_response(code, table, output);
    }
    case Accepted::Shape::PartialMetadata:
    case Accepted::Shape::PartialMetadataList:
      return json_response(code, partial_metadata(object, version), output);
    case Accepted::Shape::Object:
    case Accepted::Shape::Aggregated:
      break;
  }
  return json_response(code, object, output);
}

HttpResponse list_response(const ResourceKind& kind, const ListPage& page,
                           const OutputOptions& output, const Clock& clock) {
  const std::string& version = output.accepted.version;
  switch (output.accepted.shape) {
    case Accepted::Shape::Table: {
      Json table = table_of(kind, version, list_metadata(page));
      for (const EntryPtr& entry : page.entries)
        table["rows"].push_back(table_row(kind, parse_stored(entry->value), output.include, clock));
      return json_response(200, table, output);
    }
    case Accepted::Shape::PartialMetadata:
    case Accepted::Shape::PartialMetadataList:
      return json_response(200, partial_list(page, version), output);
    case Accepted::Shape::Object:
    case Accepted::Shape::Aggregated:
      break;
  }
  if (output.pretty || output.accepted.yaml)
    return json_response(200, plain_list(kind, page), output);
  return spliced_list(kind, page);
}

}  // namespace coracle
