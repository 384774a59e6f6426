#include "handlers_options.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "registry_errors.h"

namespace coracle {
namespace {

constexpr std::size_t kLongestManager = 128;

Error invalid_options(const std::string& kind, const FieldErrors& errors) {
  return invalid({.group = "meta.k8s.io", .version = "v1", .plural = "", .kind = kind}, "", errors);
}

Result<LabelSelector> labels_of(const Query& query) {
  return LabelSelector::parse(query.get("labelSelector"));
}

Result<FieldSelector> fields_of(const Query& query, const ApiPath& route) {
  FieldSelector fields = TRY(FieldSelector::parse(query.get("fieldSelector")));
  if (route.name.empty()) return fields;
  // A watch of one object is a watch of its collection by name.
  const auto same = [&](const FieldSelector::Term& term) {
    return term.field == "metadata.name" && term.equal && term.value == route.name;
  };
  if (!fields.empty() && std::none_of(fields.terms().begin(), fields.terms().end(), same))
    return Error{Code::BadRequest, "fieldSelector metadata.name doesn't match requested name"};
  std::string text = fields.to_string() + (fields.empty() ? "" : ",") + "metadata.name=";
  for (const char c : route.name) {
    if (c == ',' || c == '=' || c == '\\') text += '\\';
    text += c;
  }
  return FieldSelector::parse(text);
}

constexpr const char* kMatch = "resourceVersionMatch";

// What the API refuses in a list's options, field by field.
void check_list(const Query& query, FieldErrors& errors) {
  const std::string match = query.get(kMatch);
  const std::string version = query.get("resourceVersion");
  if (query.has("sendInitialEvents"))
    errors.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list");
  if (match.empty()) return;
  if (version.empty())
    errors.forbidden(kMatch,
                     "resourceVersionMatch is forbidden unless resourceVersion is provided");
  if (!query.get("continue").empty())
    errors.forbidden(kMatch, "resourceVersionMatch is forbidden when continue is provided");
  if (match != "Exact" && match != "NotOlderThan")
    errors.not_supported(kMatch, match, {"Exact", "NotOlderThan", ""});
  if (match == "Exact" && version == "0")
    errors.forbidden(kMatch,
                     R"(resourceVersionMatch "exact" is forbidden for resourceVersion "0")");
}

// And in a watch's.
void check_watch(const Query& query, FieldErrors& errors) {
  const std::string match = query.get(kMatch);
  const bool initial = query.has("sendInitialEvents");
  if (initial && match != "NotOlderThan")
    errors.forbidden(kMatch,
                     "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
  if (match.empty()) return;
  if (!initial)
    errors.forbidden(
        kMatch, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
  if (match != "NotOlderThan") errors.not_supported(kMatch, match, {"NotOlderThan"});
  if (!query.get("continue").empty())
    errors.forbidden(kMatch, "resourceVersionMatch is forbidden when continue is provided");
}

Result<void> check_options(const Query& query, void (*check)(const Query&, FieldErrors&)) {
  FieldErrors errors;
  check(query, errors);
  if (errors.empty()) return {};
  return invalid_options("ListOptions", errors);
}

Result<Revision> revision_of(const std::string& text) {
  if (text.empty()) return Revision{0};
  Revision revision = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), revision);
  if (failure != std::errc() || end != text.data() + text.size() || revision < 0) {
    FieldErrors errors;
    errors.invalid("resourceVersion", text, "the resource version is not a number");
    Error error = invalid_options("ListOptions", errors);
    error.code = Code::BadRequest;
    return error;
  }
  return revision;
}

void check_dry_run(const std::vector<std::string>& values, WriteOptions& out, FieldErrors& errors) {
  for (const std::string& value : values) {
    if (value.empty()) continue;
    if (value != "All") errors.not_supported("dryRun", value, {"All"});
    out.dry_run = true;
  }
}

void check_manager(const std::string& manager, FieldErrors& errors) {
  if (manager.size() > kLongestManager)
    errors.too_long("fieldManager", "may not be more than 128 bytes");
  if (std::any_of(manager.begin(), manager.end(),
                  [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }))
    errors.invalid("fieldManager", manager, "should only contain printable characters");
}

Result<void> read_orphan(const std::string& value, DeleteOptions& options) {
  if (value.empty()) return {};
  if (!options.propagation_policy.empty()) {
    FieldErrors errors;
    errors.invalid("propagationPolicy", options.propagation_policy,
                   "orphanDependents and propagationPolicy cannot both be set");
    return invalid_options("DeleteOptions", errors);
  }
  options.propagation_policy = value == "true" || value == "1" ? "Orphan" : "Background";
  return {};
}

Result<void> read_remove_body(const Json& body, RemoveOptions& out) {
  DeleteOptions& options = out.options;
  if (const Json* grace = json_find(body, {"gracePeriodSeconds"});
      grace != nullptr && grace->is_number_integer())
    options.grace_period_seconds = grace->get<std::int64_t>();
  const std::string policy = json_string(body, {"propagationPolicy"});
  if (!policy.empty()) options.propagation_policy = policy;
  options.uid = json_string(body, {"preconditions", "uid"});
  options.revision = TRY(revision_of(json_string(body, {"preconditions", "resourceVersion"})));
  FieldErrors errors;
  check_dry_run(json_string_list(body, {"dryRun"}), out.write, errors);
  if (!errors.empty()) return invalid_options("DeleteOptions", errors);
  if (json_find(body, {"orphanDependents"}) == nullptr) return {};
  return read_orphan(json_bool(body, {"orphanDependents"}) ? "true" : "false", options);
}

}  // namespace

Result<std::int64_t> parse_number(const std::string& text, const std::string& name) {
  std::int64_t number = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failure != std::errc() || end != text.data() + text.size() || number < 0)
    return Error{Code::BadRequest,
                 name + ": \"" + text.substr(0, 64) + "\" is not a non-negative number"};
  return number;
}

Result<WriteOptions> write_options(const Query& query, const std::string& options_kind) {
  WriteOptions out;
  FieldErrors errors;
  check_dry_run(query.all("dryRun"), out, errors);
  out.field_manager = query.get("fieldManager");
  check_manager(out.field_manager, errors);
  if (!errors.empty()) return invalid_options(options_kind, errors);
  return out;
}

Result<FieldValidation> field_validation(const Query& query, const std::string& options_kind) {
  const std::string text = query.get("fieldValidation");
  if (text.empty() || text == "Warn") return FieldValidation::Warn;
  if (text == "Strict") return FieldValidation::Strict;
  if (text == "Ignore") return FieldValidation::Ignore;
  FieldErrors errors;
  errors.not_supported("fieldValidation", text, {"Ignore", "Strict", "Warn"});
  return invalid_options(options_kind, errors);
}

Result<ListRequest> list_options(const Query& query, const ApiPath& route) {
  ListRequest out;
  out.ns = route.ns;
  out.labels = TRY(labels_of(query));
  out.fields = TRY(fields_of(query, route));
  TRY(check_options(query, check_list));
  out.continue_token = query.get("continue");
  if (const std::string limit = query.get("limit"); !limit.empty())
    out.limit = static_cast<std::size_t>(TRY(parse_number(limit, "limit")));
  const Revision revision = TRY(revision_of(query.get("resourceVersion")));
  if (!out.continue_token.empty()) {
    if (revision > 0)
      return Error{Code::BadRequest,
                   "specifying resource version is not allowed when using continue"};
    return out;
  }
  // A limited list that names a revision means that one: its pages are to be one state.
  const std::string match = query.get(kMatch);
  const bool exact = match == "Exact" || (match.empty() && out.limit > 0);
  (exact ? out.exact : out.at_least) = revision;
  return out;
}

Result<Revision> get_options(const Query& query) {
  return revision_of(query.get("resourceVersion"));
}

Result<WatchOptions> watch_options(const Query& query, const ApiPath& route) {
  WatchOptions out;
  out.labels = TRY(labels_of(query));
  out.fields = TRY(fields_of(query, route));
  TRY(check_options(query, check_watch));
  out.from = TRY(revision_of(query.get("resourceVersion")));
  // Without a revision a watch begins with what there is, unless told otherwise.
  out.initial = query.has("sendInitialEvents") ? query.flag("sendInitialEvents") : out.from == 0;
  out.bookmarks = query.flag("allowWatchBookmarks");
  const std::string timeout = query.get("timeoutSeconds");
  constexpr std::int64_t kLongest = 86'400;
  if (!timeout.empty())
    out.timeout =
        std::chrono::seconds(std::min(kLongest, TRY(parse_number(timeout, "timeoutSeconds"))));
  if (out.timeout && out.timeout->count() == 0) out.timeout.reset();
  return out;
}

Result<RemoveOptions> remove_options(const Query& query, const Json* body) {
  RemoveOptions out;
  out.write = TRY(write_options(query, "DeleteOptions"));
  const std::string grace = query.get("gracePeriodSeconds");
  if (!grace.empty())
    out.options.grace_period_seconds = TRY(parse_number(grace, "gracePeriodSeconds"));
  out.options.propagation_policy = query.get("propagationPolicy");
  TRY(read_orphan(query.get("orphanDependents"), out.options));
  if (body != nullptr) TRY(read_remove_body(*body, out));
  return out;
}

}  // namespace coracle
