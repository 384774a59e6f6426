// FieldErrors: the wording of apimachinery's field errors.
#include <nlohmann/json.hpp>

#include "registry.h"

namespace coracle {
namespace {

// Values are quoted JSON, but cut: an error message must not carry a megabyte back.
std::string shown(const Json& value) {
  constexpr std::size_t kLongest = 1024;
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return text;
}

// A hostile document must not make an answer many times as large as itself.
constexpr std::size_t kMostCauses = 1000;

}  // namespace

bool FieldErrors::full() {
  if (causes_.size() < kMostCauses) return false;
  if (causes_.size() == kMostCauses)
    causes_.push_back({"FieldValueTooMany", "Too many errors: the others are not listed", ""});
  return true;
}

void FieldErrors::required(const std::string& field, const std::string& detail) {
  if (full()) return;
  causes_.push_back({"FieldValueRequired",
                     detail.empty() ? "Required value" : "Required value: " + detail, field});
}

void FieldErrors::invalid(const std::string& field, const Json& value, const std::string& detail) {
  if (full()) return;
  causes_.push_back({"FieldValueInvalid", "Invalid value: " + shown(value) + ": " + detail, field});
}

void FieldErrors::not_supported(const std::string& field, const Json& value,
                                const std::vector<std::string>& supported) {
  if (full()) return;
  std::string message = "Unsupported value: " + shown(value);
  for (std::size_t i = 0; i < supported.size(); ++i)
    message += (i == 0 ? ": supported values: \"" : ", \"") + supported[i] + "\"";
  causes_.push_back({"FieldValueNotSupported", message, field});
}

void FieldErrors::duplicate(const std::string& field, const Json& value) {
  if (full()) return;
  causes_.push_back({"FieldValueDuplicate", "Duplicate value: " + shown(value), field});
}

void FieldErrors::forbidden(const std::string& field, const std::string& detail) {
  if (full()) return;
  causes_.push_back({"FieldValueForbidden", "Forbidden: " + detail, field});
}

void FieldErrors::too_long(const std::string& field, const std::string& detail) {
  if (full()) return;
  causes_.push_back({"FieldValueTooLong", "Too long: " + detail, field});
}

void FieldErrors::not_found(const std::string& field, const Json& value) {
  if (full()) return;
  causes_.push_back({"FieldValueNotFound", "Not found: " + shown(value), field});
}

}  // namespace coracle
