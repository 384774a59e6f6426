// Errors as HTTP answers: the one place that turns a Code into a number, a reason and a Status.
// Pure.
#pragma once

#include <coracle/object.h>
#include <coracle/result.h>

#include <string>

namespace coracle {

// What Status.details says of the object the request was about. `plural` names it in most errors,
// `kind` in Invalid.
struct StatusSubject {
  std::string name, group, plural, kind, uid;
  bool empty() const { return name.empty() && plural.empty(); }
};

int http_code(Code code);
std::string status_reason(Code code);
// The nearest Code for a bare HTTP number (the HTTP library's own errors). 5xx that blame the
// client are a BadRequest.
Code code_from_http(int status);
Json error_status(const Error& error, const StatusSubject& subject);
Json success_status(const StatusSubject& subject);

}  // namespace coracle
