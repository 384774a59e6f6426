#include "resources/validation.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "resources/fields.h"

namespace coracle {
namespace {

bool lower(char c) {
  return c >= 'a' && c <= 'z';
}
bool digit(char c) {
  return c >= '0' && c <= '9';
}
bool lower_alnum(char c) {
  return lower(c) || digit(c);
}
bool alnum(char c) {
  return lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

bool is_label(std::string_view v) {
  return !v.empty() && lower_alnum(v.front()) && lower_alnum(v.back()) &&
         std::all_of(v.begin(), v.end(), [](char c) { return lower_alnum(c) || c == '-'; });
}

bool is_subdomain(std::string_view v) {
  while (true) {
    const std::size_t dot = v.find('.');
    if (!is_label(v.substr(0, dot))) return false;
    if (dot == std::string_view::npos) return true;
    v.remove_prefix(dot + 1);
  }
}

bool is_qualified_part(std::string_view v) {
  return !v.empty() && alnum(v.front()) && alnum(v.back()) &&
         std::all_of(v.begin(), v.end(),
                     [](char c) { return alnum(c) || c == '-' || c == '_' || c == '.'; });
}

std::string too_long(std::size_t limit) {
  return "must be no more than " + std::to_string(limit) + " characters";
}

constexpr const char* kLabelText =
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
    "must start and "
    "end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation "
    "is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
constexpr const char* kSubdomainText =
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation "
    "is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
constexpr const char* kLabel1035Text =
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
    "alphabetic "
    "character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used "
    "for "
    "validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
constexpr const char* kQualifiedText =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

}  // namespace

std::string dns1123_label_problem(std::string_view value) {
  if (value.size() > 63) return too_long(63);
  return is_label(value) ? "" : kLabelText;
}

std::string dns1123_subdomain_problem(std::string_view value) {
  if (value.size() > 253) return too_long(253);
  return is_subdomain(value) ? "" : kSubdomainText;
}

std::string dns1035_label_problem(std::string_view value) {
  if (value.size() > 63) return too_long(63);
  return is_label(value) && lower(value.front()) ? "" : kLabel1035Text;
}

std::string qualified_name_problem(std::string_view value) {
  const std::size_t slash = value.find('/');
  if (slash != std::string_view::npos) {
    const std::string_view prefix = value.substr(0, slash);
    if (value.find('/', slash + 1) != std::string_view::npos)
      return std::string("a qualified name ") + kQualifiedText +
             " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
    if (prefix.empty()) return "prefix part must be non-empty";
    const std::string problem = dns1123_subdomain_problem(prefix);
    if (!problem.empty()) return "prefix part " + problem;
    value.remove_prefix(slash + 1);
  }
  if (value.empty()) return "name part must be non-empty";
  if (value.size() > 63) return "name part " + too_long(63);
  return is_qualified_part(value) ? "" : std::string("name part ") + kQualifiedText;
}

std::string label_value_problem(std::string_view value) {
  if (value.size() > 63) return too_long(63);
  if (value.empty() || is_qualified_part(value)) return "";
  return "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "
         "'.', and "
         "must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or "
         "'12345', "
         "regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
}

std::string port_name_problem(std::string_view value) {
  if (value.size() > 15) return too_long(15);
  if (!std::all_of(value.begin(), value.end(), [](char c) { return lower_alnum(c) || c == '-'; }))
    return "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)";
  if (std::none_of(value.begin(), value.end(), lower))
    return "must contain at least one letter (a-z)";
  if (value.find("--") != std::string_view::npos) return "must not contain consecutive hyphens";
  if (value.front() == '-' || value.back() == '-') return "must not begin or end with a hyphen";
  return "";
}

std::string config_key_problem(std::string_view value) {
  if (value.size() > 253) return too_long(253);
  if (value.empty() || !std::all_of(value.begin(), value.end(), [](char c) {
        return alnum(c) || c == '-' || c == '_' || c == '.';
      }))
    return "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. "
           "'key.name',  or "
           "'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
  if (value == ".") return "must not be '.'";
  if (value == "..") return "must not be '..'";
  return value.substr(0, 2) == ".." ? "must not start with '..'" : "";
}

std::string name_problem(ResourceKind::NameRule rule, std::string_view name, bool is_prefix) {
  std::string whole(name);
  // As upstream masks a prefix: its trailing dashes and dots will be followed by the random part.
  if (is_prefix && whole.size() > 1 && (whole.back() == '-' || whole.back() == '.'))
    whole.back() = 'a';
  switch (rule) {
    case ResourceKind::NameRule::Subdomain:
      return dns1123_subdomain_problem(whole);
    case ResourceKind::NameRule::Label:
      return dns1123_label_problem(whole);
    case ResourceKind::NameRule::Label1035:
      return dns1035_label_problem(whole);
  }
  return "";
}

void check_port(std::int64_t port, const std::string& field, FieldErrors& errors) {
  if (port < 1 || port > 65535)
    errors.invalid(field, port, "must be between 1 and 65535, inclusive");
}

void check_port_or_name(const Json& port, const std::string& field, FieldErrors& errors) {
  if (port.is_number_integer()) return check_port(port.get<std::int64_t>(), field, errors);
  if (!port.is_string()) return errors.required(field);
  const auto& name = port.get_ref<const std::string&>();
  const std::string problem =
      name.empty() ? "must contain at least one letter (a-z)" : port_name_problem(name);
  if (!problem.empty()) errors.invalid(field, port, problem);
}

void check_one_of(const Json& holder, const char* key, const std::string& field,
                  const std::vector<std::string>& supported, FieldErrors& errors) {
  const std::string value = text_in(holder, key);
  if (std::find(supported.begin(), supported.end(), value) == supported.end())
    errors.not_supported(field, value, supported);
}

void check_protocol(const Json& holder, const std::string& field, FieldErrors& errors) {
  if (unset(holder, "protocol")) return errors.required(field);
  check_one_of(holder, "protocol", field, {"SCTP", "TCP", "UDP"}, errors);
}

void check_labels(const Json& labels, const std::string& field, FieldErrors& errors) {
  if (!labels.is_object()) return;
  for (const auto& [key, value] : labels.items()) {
    const std::string problem = qualified_name_problem(key);
    if (!problem.empty()) errors.invalid(field, key, problem);
    const std::string text = value.is_string() ? value.get<std::string>() : "";
    const std::string value_problem = label_value_problem(text);
    if (!value_problem.empty()) errors.invalid(field, text, value_problem);
  }
}

}  // namespace coracle
