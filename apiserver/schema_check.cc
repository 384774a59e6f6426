// Documents against their type: wrong JSON types, unknown fields, defaults. Recursion follows the
// schema, so its depth is bounded by the types and not by the document.
#include <algorithm>
#include <cctype>
#include <limits>
#include <nlohmann/json.hpp>

#include "schema.h"

namespace coracle {
namespace {

using Kind = SchemaField::Kind;
using Shape = SchemaField::Shape;

// A hostile document must not make an answer as large as itself.
constexpr std::size_t kMostProblems = 100;
constexpr std::size_t kMostName = 256;

std::string shown(const std::string& name) {
  return name.size() <= kMostName ? name : name.substr(0, kMostName) + "...";
}

class Checker {
 public:
  Result<void> object(const SchemaType& type, Json& document, const std::string& path) {
    if (!document.is_object()) return wrong(type.name, path, document, "object");
    for (auto it = document.begin(); it != document.end();) {
      const SchemaField* field = type.find(it.key());
      if (field == nullptr) {
        if (unknown.size() < kMostProblems) unknown.push_back(join(path, shown(it.key())));
        it = document.erase(it);
        continue;
      }
      if (it->is_null()) {
        it = document.erase(it);
        continue;
      }
      owner_ = &type;
      TRY(member(*field, *it, join(path, it.key())));
      ++it;
    }
    return {};
  }

  std::vector<std::string> unknown;

 private:
  static std::string join(const std::string& path, const std::string& name) {
    return path.empty() ? name : path + "." + name;
  }

  // The text Go's decoder gives, with the element's index put in.
  static Error wrong(const std::string& owner, const std::string& path, const Json& value,
                     const std::string& want) {
    std::string got = value.type_name();
    if (value.is_boolean()) got = "bool";
    if (value.is_number()) got = "number " + value.dump();
    const std::string short_name = owner.substr(owner.rfind('.') + 1);
    return {Code::BadRequest, "json: cannot unmarshal " + got + " into Go struct field " +
                                  short_name + "." + path + " of type " + want};
  }

  Result<void> member(const SchemaField& field, Json& value, const std::string& path) {
    const std::string owner = owner_->name;
    if (field.shape == Shape::Single) return single(field, value, path);
    if (field.shape == Shape::List) {
      if (!value.is_array()) return wrong(owner, path, value, "array");
      std::size_t index = 0;
      for (Json& item : value) {
        const std::string item_path = path + "[" + std::to_string(index++) + "]";
        if (item.is_null() && field.kind != Kind::Object)
          return wrong(owner, item_path, item, "string");
        if (item.is_null()) item = Json::object();
        TRY(single(field, item, item_path));
      }
      return {};
    }
    if (!value.is_object()) return wrong(owner, path, value, "map");
    for (auto it = value.begin(); it != value.end(); ++it) {
      // As in Go, where a null is the map value's zero.
      if (it->is_null() && (field.kind == Kind::String || field.kind == Kind::Bytes)) *it = "";
      TRY(single(field, *it, path + "." + shown(it.key())));
    }
    return {};
  }

  Result<void> single(const SchemaField& field, Json& value, const std::string& path) {
    const std::string& owner = owner_->name;
    switch (field.kind) {
      case Kind::Any:
        return {};
      case Kind::Object: {
        const SchemaType* const outer = owner_;
        TRY(object(*field.type, value, path));
        owner_ = outer;
        return {};
      }
      case Kind::String:
        if (!value.is_string()) return wrong(owner, path, value, "string");
        return {};
      case Kind::Boolean:
        if (!value.is_boolean()) return wrong(owner, path, value, "bool");
        return {};
      case Kind::Number:
        if (!value.is_number()) return wrong(owner, path, value, "float64");
        return {};
      case Kind::Integer:
        return integer(field.format == "int32" ? "int32" : "int64", value, path);
      case Kind::IntOrString:
        return value.is_string() ? Result<void>() : integer("int32", value, path);
      case Kind::Quantity:
        return quantity(value, path);
      case Kind::Time:
      case Kind::MicroTime:
        return time(value, path);
      case Kind::Bytes:
        return bytes(value, path);
    }
    return {};
  }

  Result<void> integer(const std::string& format, Json& value, const std::string& path) {
    const auto fits = [&] {
      if (!value.is_number_integer()) return false;
      if (value.is_number_unsigned() &&
          value.get<std::uint64_t>() > std::uint64_t{std::numeric_limits<std::int64_t>::max()})
        return false;
      const auto number = value.get<std::int64_t>();
      return format == "int64" || (number >= std::numeric_limits<std::int32_t>::min() &&
                                   number <= std::numeric_limits<std::int32_t>::max());
    };
    return fits() ? Result<void>() : wrong(owner_->name, path, value, format);
  }

  Result<void> quantity(Json& value, const std::string& path) {
    if (value.is_number()) value = value.dump();
    if (!value.is_string()) return wrong(owner_->name, path, value, "resource.Quantity");
    const auto text = value.get<std::string>();
    std::size_t i = text.find_first_of("+-") == 0 ? 1 : 0;
    const std::size_t digits = i;
    std::size_t dots = 0;
    for (; i < text.size() && (std::isdigit(static_cast<unsigned char>(text[i])) || text[i] == '.');
         ++i)
      if (text[i] == '.') ++dots;
    static const std::vector<std::string> kSuffixes = {
        "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
    std::string suffix = text.substr(i);
    const bool exponent =
        suffix.size() > 1 && (suffix[0] == 'e' || suffix[0] == 'E') &&
        suffix.find_first_not_of("0123456789", suffix.find_first_of("+-") == 1 ? 2 : 1) ==
            std::string::npos &&
        std::isdigit(static_cast<unsigned char>(suffix.back()));
    const bool good =
        i - digits > dots && dots <= 1 &&
        (exponent || std::find(kSuffixes.begin(), kSuffixes.end(), suffix) != kSuffixes.end());
    if (good) return {};
    return Error{Code::BadRequest, path +
                                       ": quantities must match the regular expression "
                                       "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"};
  }

  // RFC 3339 by its shape: "2026-11-22T22:10:00[.123456](Z|+01:00)", days and hours in range.
  Result<void> time(const Json& value, const std::string& path) {
    if (!value.is_string()) return wrong(owner_->name, path, value, "Time");
    const auto& text = value.get_ref<const std::string&>();
    if (is_time(text)) return {};
    return Error{Code::BadRequest, path + ": parsing time \"" + shown(text) +
                                       R"(" as "2006-01-02T15:04:05Z07:00": cannot parse)"};
  }

  static bool is_time(const std::string& text) {
    static constexpr std::string_view kShape = "dddd-dd-ddTdd:dd:dd";
    if (text.size() <= kShape.size()) return false;
    for (std::size_t i = 0; i < kShape.size(); ++i) {
      const bool digit = std::isdigit(static_cast<unsigned char>(text[i])) != 0;
      if (kShape[i] == 'd' ? !digit : text[i] != kShape[i]) return false;
    }
    const auto two = [&](std::size_t at) { return (text[at] - '0') * 10 + (text[at + 1] - '0'); };
    if (two(5) < 1 || two(5) > 12 || two(8) < 1 || two(8) > 31 || two(11) > 23 || two(14) > 59 ||
        two(17) > 59)
      return false;
    std::size_t i = kShape.size();
    if (text[i] == '.') {
      const std::size_t end = text.find_first_not_of("0123456789", i + 1);
      if (end == std::string::npos || end == i + 1) return false;
      i = end;
    }
    if (text.substr(i) == "Z") return true;
    if (text.size() - i != 6 || (text[i] != '+' && text[i] != '-') || text[i + 3] != ':')
      return false;
    return text.substr(i + 1, 2).find_first_not_of("0123456789") == std::string::npos &&
           text.substr(i + 4, 2).find_first_not_of("0123456789") == std::string::npos;
  }

  Result<void> bytes(const Json& value, const std::string& path) {
    if (!value.is_string()) return wrong(owner_->name, path, value, "[]uint8");
    const auto& text = value.get_ref<const std::string&>();
    const std::size_t bad = bad_base64(text);
    if (bad == std::string::npos) return {};
    return Error{Code::BadRequest,
                 path + ": illegal base64 data at input byte " + std::to_string(bad)};
  }

  // Where the text stops being standard base64 (line breaks are skipped, as Go does); npos if it is
  // all right.
  static std::size_t bad_base64(const std::string& text) {
    std::size_t count = 0;
    std::size_t padding = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const char c = text[i];
      if (c == '\n' || c == '\r') continue;
      ++count;
      if (c == '=') {
        if (++padding > 2) return i;
        continue;
      }
      if (padding > 0 || !(std::isalnum(static_cast<unsigned char>(c)) || c == '+' || c == '/'))
        return i;
    }
    return count % 4 == 0 ? std::string::npos : text.size();
  }

  const SchemaType* owner_ = nullptr;
};

void default_member(const SchemaField& field, Json& value) {
  if (field.kind != Kind::Object) return;
  if (field.shape == Shape::Single) {
    apply_schema_defaults(*field.type, value);
  } else if (value.is_structured()) {
    for (Json& item : value) apply_schema_defaults(*field.type, item);
  }
}

}  // namespace

Result<DecodeReport> check_document(const SchemaType& type, Json& document,
                                    FieldValidation validation,
                                    const std::vector<std::string>& duplicate_fields) {
  Checker checker;
  TRY(checker.object(type, document, ""));
  DecodeReport report;
  if (validation == FieldValidation::Ignore) return report;
  std::vector<std::string> problems;
  for (const std::string& field : duplicate_fields) {
    if (problems.size() < kMostProblems)
      problems.push_back("duplicate field \"" + shown(field) + "\"");
  }
  for (const std::string& field : checker.unknown) {
    if (problems.size() < kMostProblems) problems.push_back("unknown field \"" + field + "\"");
  }
  if (validation == FieldValidation::Warn) {
    report.warnings = std::move(problems);
    return report;
  }
  if (problems.empty()) return report;
  std::string message = "strict decoding error: ";
  for (std::size_t i = 0; i < problems.size(); ++i) message += (i == 0 ? "" : ", ") + problems[i];
  return Error{Code::BadRequest, message};
}

void apply_schema_defaults(const SchemaType& type, Json& document) {
  if (!document.is_object()) return;
  for (const SchemaField& field : type.fields) {
    if (field.inlined) continue;
    const auto it = document.find(field.name);
    if (it != document.end()) {
      default_member(field, *it);
    } else if (!field.default_json.empty()) {
      document[field.name] = Json::parse(field.default_json, nullptr, false);
    }
  }
}

}  // namespace coracle
