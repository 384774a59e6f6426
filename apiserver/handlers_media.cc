#include "handlers_media.h"

#include <coracle/client.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <nlohmann/json.hpp>

namespace coracle {
namespace {

constexpr std::size_t kMostAccepted = 64;

std::string trimmed(std::string_view text) {
  const std::size_t from = text.find_first_not_of(" \t");
  if (from == std::string_view::npos) return "";
  return std::string(text.substr(from, text.find_last_not_of(" \t") - from + 1));
}

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> out;
  for (;;) {
    const std::size_t end = text.find(separator);
    out.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return out;
    text.remove_prefix(end + 1);
  }
}

std::optional<Accepted> shape_of(const MediaType& media, Offer offer) {
  Accepted accepted;
  const std::string& t = media.type;
  const bool json = t == "application/json" || t == "application/*" || t == "*/*";
  accepted.yaml = t == "application/yaml" || t == "application/x-yaml" || t == "text/yaml";
  if (!json && !(accepted.yaml && offer != Offer::Stream)) return std::nullopt;
  const std::string as = media.param("as");
  if (as.empty()) return accepted;
  const std::string group = media.param("g");
  accepted.version = media.param("v");
  const std::string& v = accepted.version;
  if (offer == Offer::Discovery) {
    accepted.shape = Accepted::Shape::Aggregated;
    const bool known = as == "APIGroupDiscoveryList" && group == "apidiscovery.k8s.io" &&
                       (v == "v2" || v == "v2beta1");
    return known ? std::optional(accepted) : std::nullopt;
  }
  if (group != "meta.k8s.io" || (v != "v1" && v != "v1beta1")) return std::nullopt;
  if (as == "Table") {
    accepted.shape = Accepted::Shape::Table;
    return accepted;
  }
  const bool list = as == "PartialObjectMetadataList";
  accepted.shape = list ? Accepted::Shape::PartialMetadataList : Accepted::Shape::PartialMetadata;
  return list || as == "PartialObjectMetadata" ? std::optional(accepted) : std::nullopt;
}

// A plain word that no YAML 1.1 or 1.2 reader takes for a boolean, a number, a date or null.
bool is_plain(const std::string& text) {
  if (text.empty() || text.size() > 128) return false;
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  if (!letter(text.front())) return false;
  for (const char c : text)
    if (!letter(c) && !(c >= '0' && c <= '9') && c != '-' && c != '_' && c != '.' && c != '/')
      return false;
  constexpr std::array<std::string_view, 9> kWords = {"true", "false", "yes", "no", "on",
                                                      "off",  "null",  "y",   "n"};
  return std::find(kWords.begin(), kWords.end(), lower(text)) == kWords.end();
}

std::string scalar(const Json& value) {
  if (value.is_string() && is_plain(value.get_ref<const std::string&>()))
    return value.get<std::string>();
  return value.dump(-1, ' ', false,
                    Json::error_handler_t::replace);  // JSON scalars are YAML scalars
}

constexpr int kDeepestYaml = 64;  // deeper values go in flow style

// A key without a "?" may have 1,024 characters (YAML 1.2.2, 7.4.2), in our reader's eyes bytes.
constexpr std::size_t kLongestImplicitKey = 1000;

std::string key_of(const std::string& name) {
  const std::string key = scalar(name);
  return key.size() > kLongestImplicitKey ? "? " + key : key;
}

// On one line, without indentation, which would grow with the depth.
void write_flow(const Json& value, std::string& out) {
  if (!value.is_structured()) {
    out += scalar(value);
    return;
  }
  out += value.is_array() ? "[" : "{";
  bool first = true;
  for (const auto& item : value.items()) {
    if (!first) out += ", ";
    first = false;
    if (value.is_object()) out += key_of(item.key()) + ": ";
    write_flow(item.value(), out);
  }
  out += value.is_array() ? "]" : "}";
}

bool is_block(const Json& value, int depth) {
  return value.is_structured() && !value.empty() && depth < kDeepestYaml;
}

void write_yaml(const Json& value, int depth, bool first_inline, std::string& out) {
  const std::string indent(static_cast<std::size_t>(depth) * 2, ' ');
  bool first = first_inline;
  for (const auto& item : value.items()) {
    if (!first) out += indent;
    first = false;
    const Json& member = item.value();
    if (value.is_array()) {
      out += "- ";
      if (is_block(member, depth + 1)) {
        write_yaml(member, depth + 1, true, out);
        continue;
      }
    } else {
      const std::string key = key_of(item.key());
      out.append(key).append(key.starts_with("? ") ? "\n" + indent + ":" : ":");
      if (is_block(member, depth + 1)) {
        out += "\n";
        write_yaml(member, depth + 1, false, out);
        continue;
      }
      out += " ";
    }
    write_flow(member, out);
    out += "\n";
  }
}

}  // namespace

std::string MediaType::param(std::string_view name) const {
  for (const auto& [key, value] : params)
    if (key == name) return value;
  return "";
}

MediaType parse_media_type(std::string_view text) {
  MediaType media;
  bool first = true;
  for (const std::string_view part : split(text, ';')) {
    if (first) {
      media.type = lower(trimmed(part));
    } else if (const std::size_t equals = part.find('='); equals != std::string_view::npos) {
      media.params.emplace_back(lower(trimmed(part.substr(0, equals))),
                                trimmed(part.substr(equals + 1)));
    }
    first = false;
  }
  return media;
}

std::vector<MediaType> parse_accept(std::string_view header) {
  std::vector<std::pair<double, MediaType>> ranked;
  for (const std::string_view part : split(header, ',')) {
    MediaType media = parse_media_type(part);
    if (media.type.empty() || ranked.size() == kMostAccepted) continue;
    const std::string q = media.param("q");
    const double weight = q.empty() ? 1.0 : std::strtod(q.c_str(), nullptr);
    if (weight > 0) ranked.emplace_back(weight, std::move(media));
  }
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<MediaType> out;
  out.reserve(ranked.size());
  for (auto& [weight, media] : ranked) out.push_back(std::move(media));
  return out;
}

Result<Accepted> negotiate(std::string_view accept_header, Offer offer) {
  if (trimmed(accept_header).empty()) return Accepted{};
  for (const MediaType& media : parse_accept(accept_header))
    if (auto accepted = shape_of(media, offer)) return *accepted;
  const std::string yaml = offer == Offer::Stream ? "" : ", application/yaml";
  return Error{Code::NotAcceptable,
               "only the following media types are accepted: application/json" + yaml};
}

Result<ParsedBody> parse_body(std::string_view content_type, std::string_view body) {
  const std::string type = parse_media_type(content_type).type;
  if (type.empty() || type == "application/json" || type == "*/*") return parse_json_body(body);
  if (type == "application/yaml" || type == "application/x-yaml" || type == "text/yaml")
    return parse_yaml_body(body);
  if (type == "application/vnd.kubernetes.protobuf") return parse_protobuf_body(body);
  return Error{Code::UnsupportedMediaType,
               "the body of the request was in an unknown format - accepted media types include: "
               "application/json, "
               "application/yaml, application/vnd.kubernetes.protobuf"};
}

Result<PatchType> patch_type(std::string_view content_type) {
  const std::string type = parse_media_type(content_type).type;
  if (type == "application/json-patch+json") return PatchType::JsonPatch;
  if (type == "application/merge-patch+json") return PatchType::JsonMerge;
  if (type == "application/strategic-merge-patch+json") return PatchType::StrategicMerge;
  std::string message =
      "the body of the request was in an unknown format - accepted media types include: ";
  if (type == "application/apply-patch+yaml")
    message =
        "server-side apply (application/apply-patch+yaml) is not supported, use client-side apply; "
        "accepted media types include: ";
  return Error{Code::UnsupportedMediaType,
               message +
                   "application/json-patch+json, application/merge-patch+json, "
                   "application/strategic-merge-patch+json"};
}

std::string to_yaml(const Json& document) {
  if (!is_block(document, 0)) return scalar(document) + "\n";
  std::string out;
  write_yaml(document, 0, false, out);
  return out;
}

}  // namespace coracle
