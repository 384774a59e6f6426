#include "status.h"

#include <nlohmann/json.hpp>

namespace coracle {
namespace {

struct Answer {
  int http;
  const char* reason;
};

Answer answer_of(Code code) {
  switch (code) {
    case Code::BadRequest:
      return {400, "BadRequest"};
    case Code::Unauthorized:
      return {401, "Unauthorized"};
    case Code::Forbidden:
      return {403, "Forbidden"};
    case Code::NotFound:
      return {404, "NotFound"};
    case Code::MethodNotAllowed:
      return {405, "MethodNotAllowed"};
    case Code::NotAcceptable:
      return {406, "NotAcceptable"};
    case Code::AlreadyExists:
      return {409, "AlreadyExists"};
    case Code::Conflict:
      return {409, "Conflict"};
    case Code::Expired:
      return {410, "Expired"};
    case Code::TooLarge:
      return {413, "RequestEntityTooLarge"};
    case Code::UnsupportedMediaType:
      return {415, "UnsupportedMediaType"};
    case Code::Invalid:
      return {422, "Invalid"};
    case Code::TooManyRequests:
      return {429, "TooManyRequests"};
    case Code::Internal:
      return {500, "InternalError"};
    case Code::Unavailable:
      return {503, "ServiceUnavailable"};
    case Code::Timeout:
      return {504, "Timeout"};
  }
  return {500, "InternalError"};
}

Json details_of(const Error& error, const StatusSubject& subject) {
  Json details = Json::object();
  if (!subject.name.empty()) details["name"] = subject.name;
  if (!subject.group.empty()) details["group"] = subject.group;
  const std::string& kind = error.code == Code::Invalid ? subject.kind : subject.plural;
  if (!kind.empty()) details["kind"] = kind;
  if (!subject.uid.empty()) details["uid"] = subject.uid;
  for (const Cause& cause : error.causes) {
    Json entry = {{"reason", cause.reason}, {"message", cause.message}};
    if (!cause.field.empty()) entry["field"] = cause.field;
    details["causes"].push_back(std::move(entry));
  }
  if (error.retry_after_seconds > 0) details["retryAfterSeconds"] = error.retry_after_seconds;
  return details;
}

Json empty_status(const char* status) {
  return {
      {"kind", "Status"}, {"apiVersion", "v1"}, {"metadata", Json::object()}, {"status", status}};
}

}  // namespace

int http_code(Code code) {
  return answer_of(code).http;
}
std::string status_reason(Code code) {
  return answer_of(code).reason;
}

Code code_from_http(int status) {
  constexpr Code kCodes[] = {
      Code::Unauthorized,  Code::Forbidden,  Code::NotFound,        Code::MethodNotAllowed,
      Code::NotAcceptable, Code::TooLarge,   Code::TooManyRequests, Code::UnsupportedMediaType,
      Code::Internal,      Code::Unavailable};
  for (const Code code : kCodes)
    if (http_code(code) == status) return code;
  return Code::BadRequest;
}

Json error_status(const Error& error, const StatusSubject& subject) {
  Json status = empty_status("Failure");
  status["message"] = error.message;
  status["reason"] = status_reason(error.code);
  status["code"] = http_code(error.code);
  Json details = details_of(error, subject);
  if (!details.empty() || error.code == Code::NotFound) status["details"] = std::move(details);
  return status;
}

Json success_status(const StatusSubject& subject) {
  Json status = empty_status("Success");
  Json details = details_of({}, subject);
  if (!details.empty()) status["details"] = std::move(details);
  return status;
}

}  // namespace coracle
