#include "log_options.h"

#include <coracle/clock.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "registry_errors.h"
#include "resources/fields.h"

namespace coracle {
namespace {

constexpr const char* kNegative = "must be greater than or equal to 0";
constexpr const char* kNotPositive = "must be greater than 0";

// As Go prints %q; what is no UTF-8 is replaced.
std::string shown(const std::string& text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<std::optional<std::int64_t>> number_of(const Query& query, const char* name) {
  const std::string text = query.get(name);
  std::int64_t number = 0;
  if (text.empty()) return std::optional<std::int64_t>();
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc::result_out_of_range)
    return Error{Code::BadRequest,
                 "strconv.ParseInt: parsing " + shown(text) + ": value out of range"};
  if (error != std::errc{} || end != text.data() + text.size())
    return Error{Code::BadRequest, "strconv.ParseInt: parsing " + shown(text) + ": invalid syntax"};
  return std::optional(number);
}

bool is_epoch(const std::string& text) {
  return text.starts_with("1970-01-01T") || text.starts_with("1969-12-31T");
}

Result<std::string> time_of(const Query& query) {
  std::string text = query.get("sinceTime");
  if (!text.empty() && parse_time(text) == std::chrono::system_clock::time_point() &&
      !is_epoch(text))
    return Error{Code::BadRequest,
                 "parsing time " + shown(text) + " as \"2006-01-02T15:04:05Z07:00\""};
  return text;
}

void validate(const LogOptions& options, bool stream_given, FieldErrors& errors) {
  if (options.tail_lines && *options.tail_lines < 0)
    errors.invalid("tailLines", *options.tail_lines, kNegative);
  if (options.limit_bytes && *options.limit_bytes < 1)
    errors.invalid("limitBytes", *options.limit_bytes, kNotPositive);
  if (options.since_seconds && !options.since_time.empty())
    errors.forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified");
  else if (options.since_seconds && *options.since_seconds < 1)
    errors.invalid("sinceSeconds", *options.since_seconds, kNotPositive);
  if (!stream_given) return;
  if (options.stream != "All" && options.stream != "Stdout" && options.stream != "Stderr")
    errors.not_supported("stream", options.stream, {"All", "Stderr", "Stdout"});
  else if (options.stream != "All" && options.tail_lines)
    errors.forbidden("", "`tailLines` and specific `stream` are mutually exclusive for now");
}

// "a b" of a list of containers.
std::string names_of(const Json& pod, const char* list) {
  std::string out;
  for (const Json& container : array_in(object_at(pod, "spec"), list))
    out += (out.empty() ? "" : " ") + text_in(container, "name");
  return out;
}

constexpr const char* kLists[] = {"containers", "initContainers", "ephemeralContainers"};
constexpr const char* kStatuses[] = {"containerStatuses", "initContainerStatuses",
                                     "ephemeralContainerStatuses"};

const Json* status_of(const Json& pod, const std::string& container) {
  for (const char* list : kStatuses)
    for (const Json& status : array_in(object_at(pod, "status"), list))
      if (text_in(status, "name") == container) return &status;
  return nullptr;
}

}  // namespace

Result<LogOptions> log_options(const Query& query, const std::string& pod) {
  LogOptions out;
  out.container = query.get("container");
  out.follow = query.flag("follow");
  out.previous = query.flag("previous");
  out.timestamps = query.flag("timestamps");
  out.since_seconds = TRY(number_of(query, "sinceSeconds"));
  out.tail_lines = TRY(number_of(query, "tailLines"));
  out.limit_bytes = TRY(number_of(query, "limitBytes"));
  out.since_time = TRY(time_of(query));
  const bool stream_given = !query.get("stream").empty();
  if (stream_given) out.stream = query.get("stream");
  FieldErrors errors;
  validate(out, stream_given, errors);
  if (!errors.empty()) return invalid({"", "v1", "pods", "PodLogOptions", true}, pod, errors);
  return out;
}

std::string encode_log_request(const LogOptions& options, const Json& pod,
                               const std::string& container) {
  Json out = {{"uid", json_string(pod, {"metadata", "uid"})}, {"container", container}};
  for (const auto& [name, flag] :
       {std::pair("follow", options.follow), std::pair("previous", options.previous),
        std::pair("timestamps", options.timestamps)})
    if (flag) out[name] = true;
  if (const Json* status = status_of(pod, container)) {
    const std::string id = json_string(*status, {"lastState", "terminated", "containerID"});
    if (const auto at = id.find("://"); at != std::string::npos) out["lastID"] = id.substr(at + 3);
  }
  if (options.since_seconds) out["sinceSeconds"] = *options.since_seconds;
  if (options.tail_lines) out["tailLines"] = *options.tail_lines;
  if (options.limit_bytes) out["limitBytes"] = *options.limit_bytes;
  if (!options.since_time.empty()) out["since"] = format_micro_time(parse_time(options.since_time));
  if (options.stream != "All") out["stream"] = options.stream == "Stdout" ? "stdout" : "stderr";
  return out.dump(-1, ' ', true, Json::error_handler_t::replace);  // ASCII: it goes into a header
}

Result<std::string> log_container(const Json& pod, const std::string& wanted) {
  const Json& spec = object_at(pod, "spec");
  const std::string name = json_string(pod, {"metadata", "name"});
  if (!wanted.empty()) {
    for (const char* list : kLists)
      for (const Json& container : array_in(spec, list))
        if (text_in(container, "name") == wanted) return wanted;
    return Error{Code::BadRequest, "container " + wanted + " is not valid for pod " + name};
  }
  const Json& containers = array_in(spec, "containers");
  if (containers.size() == 1) return text_in(containers[0], "name");
  std::string message = "a container name must be specified for pod " + name;
  if (containers.empty()) return Error{Code::BadRequest, message};
  message += ", choose one of: [" + names_of(pod, kLists[0]) + "]";
  if (const auto init = names_of(pod, kLists[1]); !init.empty())
    message += " or one of the init containers: [" + init + "]";
  if (const auto ephemeral = names_of(pod, kLists[2]); !ephemeral.empty())
    message += " or one of the ephemeral containers: [" + ephemeral + "]";
  return Error{Code::BadRequest, message};
}

Error no_log(const Json& pod, const std::string& container, bool previous) {
  const std::string name = json_string(pod, {"metadata", "name"});
  const std::string which = "container \"" + container + "\" in pod \"" + name + "\"";
  const Json* status = status_of(pod, container);
  std::string message;
  if (status == nullptr) {
    message = which + " is not available";
  } else if (previous) {
    message = "previous terminated " + which + " not found";
  } else if (const std::string reason = json_string(*status, {"state", "waiting", "reason"});
             reason == "ErrImagePull") {
    message = which + " is waiting to start: image can't be pulled";
  } else if (reason == "ImagePullBackOff") {
    message = which + " is waiting to start: trying and failing to pull image";
  } else if (!reason.empty()) {
    message = which + " is waiting to start: " + reason;
  } else if (json_find(*status, {"state", "terminated"}) != nullptr) {
    message = which + " is terminated";
  } else {
    message = which + " is waiting to start - no logs yet";
  }
  return {Code::BadRequest, message};
}

}  // namespace coracle
