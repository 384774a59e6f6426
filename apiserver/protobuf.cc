// Kubernetes objects in protobuf ("k8s\0" + runtime.Unknown) to JSON, driven by the schema's field
// numbers. Go writes the zero of every field that is no pointer; those mean "absent" and are left
// out.
#include "protobuf.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "schema.h"

namespace coracle {
namespace {

using Kind = SchemaField::Kind;
using Shape = SchemaField::Shape;
using protobuf::Reader;
using protobuf::Wire;

constexpr int kMostDepth = 64;  // deeper than any type of ours nests

// The same as for JSON: an empty message of two bytes takes fifty times as much in memory.
constexpr std::size_t kMostFields = 200'000;

// Where the decoder is, and how many fields it may still decode.
struct Nesting {
  int level = 0;
  std::size_t* left = nullptr;
  Nesting deeper() const { return {level + 1, left}; }
};

Error malformed(const std::string& what) {
  return {Code::BadRequest, "the object provided is not valid protobuf: " + what};
}

Result<void> decode_message(const SchemaType& type, std::string_view bytes, Nesting depth,
                            Json& out);

std::string base64(std::string_view bytes) {
  static constexpr char kAlphabet[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t left = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 3; ++k)
      group = (group << 8U) | (k < left ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    for (std::size_t k = 0; k < 4; ++k)
      out.push_back(k <= left ? kAlphabet[(group >> (18 - 6 * k)) & 0x3FU] : '=');
  }
  return out;
}

Result<Json> text(std::string_view bytes, const std::string& field) {
  if (!protobuf::is_utf8(bytes)) return malformed(field + " holds invalid UTF-8");
  return Json(std::string(bytes));
}

// meta/v1 Time and MicroTime: {seconds = 1, nanos = 2}. Null for the zero time.
Result<Json> decode_time(Kind kind, std::string_view bytes) {
  // Years 1 to 9999: what RFC 3339 can say.
  constexpr std::int64_t kFirst = -62135596800;
  constexpr std::int64_t kLast = 253402300799;
  Reader reader(bytes);
  std::int64_t seconds = 0;
  std::int64_t nanos = 0;
  bool any = false;
  while (reader.next()) {
    if (reader.wire() != Wire::Varint) continue;
    any = true;
    if (reader.number() == 1) seconds = static_cast<std::int64_t>(reader.integer());
    if (reader.number() == 2) nanos = static_cast<std::int64_t>(reader.integer());
  }
  if (!reader.ok()) return malformed("bad time");
  if (!any || seconds == kFirst) return Json();
  if (seconds < kFirst || seconds > kLast || nanos < 0 || nanos > 999999999)
    return malformed("time out of range");
  const std::int64_t days = seconds >= 0 ? seconds / 86400 : -((86399 - seconds) / 86400);
  const std::int64_t rest = seconds - days * 86400;
  const std::chrono::year_month_day date{
      std::chrono::sys_days{std::chrono::days{static_cast<int>(days)}}};
  char out[64];
  const int n = std::snprintf(out, sizeof out, "%04d-%02u-%02uT%02d:%02d:%02d",
                              static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                              static_cast<unsigned>(date.day()), static_cast<int>(rest / 3600),
                              static_cast<int>(rest / 60 % 60), static_cast<int>(rest % 60));
  std::string result(out, static_cast<std::size_t>(n));
  if (kind == Kind::MicroTime) {
    std::snprintf(out, sizeof out, ".%06d", static_cast<int>(nanos / 1000));
    result += out;
  }
  return Json(result + "Z");
}

// {type = 1 (0 integer, 1 string), intVal = 2, strVal = 3}
Result<Json> decode_int_or_string(std::string_view bytes, const std::string& field) {
  Reader reader(bytes);
  bool is_string = false;
  std::int64_t number = 0;
  std::string_view string;
  while (reader.next()) {
    if (reader.wire() == Wire::Varint && reader.number() == 1) is_string = reader.integer() == 1;
    if (reader.wire() == Wire::Varint && reader.number() == 2)
      number = static_cast<std::int32_t>(reader.integer());
    if (reader.wire() == Wire::Bytes && reader.number() == 3) string = reader.bytes();
  }
  if (!reader.ok()) return malformed(field);
  return is_string ? text(string, field) : Result<Json>(Json(number));
}

// Quantity {string = 1} and FieldsV1 {Raw = 1}: the bytes of field 1.
Result<std::string_view> first_bytes(std::string_view bytes, const std::string& field) {
  Reader reader(bytes);
  std::string_view value;
  while (reader.next())
    if (reader.number() == 1 && reader.wire() == Wire::Bytes) value = reader.bytes();
  if (!reader.ok()) return malformed(field);
  return value;
}

Result<Json> decode_any(std::string_view bytes, const std::string& field) {
  const std::string_view raw = TRY(first_bytes(bytes, field));
  if (raw.empty()) return Json::object();
  return TRY(parse_json_body(raw)).document;
}

Result<Json> decode_bytes_value(const SchemaField& field, std::string_view bytes, Nesting depth) {
  switch (field.kind) {
    case Kind::String:
      return text(bytes, field.name);
    case Kind::Bytes:
      return Json(base64(bytes));
    case Kind::Object: {
      Json value = Json::object();
      TRY(decode_message(*field.type, bytes, depth.deeper(), value));
      return value;
    }
    case Kind::Time:
    case Kind::MicroTime:
      return decode_time(field.kind, bytes);
    case Kind::IntOrString:
      return decode_int_or_string(bytes, field.name);
    case Kind::Quantity: {
      const std::string_view quantity = TRY(first_bytes(bytes, field.name));
      return text(quantity.empty() ? "0" : quantity, field.name);
    }
    case Kind::Any:
      return decode_any(bytes, field.name);
    case Kind::Integer:
    case Kind::Number:
    case Kind::Boolean:
      break;
  }
  return malformed(field.name + " has the wrong wire type");
}

Result<Json> decode_number_value(const SchemaField& field, Wire wire, std::uint64_t integer) {
  if (field.kind == Kind::Boolean && wire == Wire::Varint) return Json(integer != 0);
  if (field.kind == Kind::Integer && wire == Wire::Varint) {
    // An int32 is the low half of its 64-bit varint.
    if (field.format == "int32") return Json(std::int64_t{static_cast<std::int32_t>(integer)});
    return Json(static_cast<std::int64_t>(integer));
  }
  if (field.kind == Kind::Number && wire == Wire::Fixed64) {
    double number = 0;
    std::memcpy(&number, &integer, sizeof number);
    if (number - number != 0) return malformed(field.name + " is no number");
    return Json(number);
  }
  return malformed(field.name + " has the wrong wire type");
}

Result<Json> decode_value(const SchemaField& field, const Reader& reader, Nesting depth) {
  if (reader.wire() == Wire::Bytes) return decode_bytes_value(field, reader.bytes(), depth);
  return decode_number_value(field, reader.wire(), reader.integer());
}

// The zero that a missing map value stands for.
Json zero_of(const SchemaField& field) {
  switch (field.kind) {
    case Kind::Object:
    case Kind::Any:
      return Json::object();
    case Kind::Integer:
    case Kind::Number:
    case Kind::IntOrString:
      return 0;
    case Kind::Boolean:
      return false;
    case Kind::Quantity:
      return "0";
    case Kind::String:
    case Kind::Bytes:
    case Kind::Time:
    case Kind::MicroTime:
      break;
  }
  return "";
}

Result<void> decode_map_entry(const SchemaField& field, const Reader& reader, Nesting depth,
                              Json& out) {
  if (reader.wire() != Wire::Bytes) return malformed(field.name + " has the wrong wire type");
  Reader entry(reader.bytes());
  Json key = "";
  Json value = zero_of(field);
  while (entry.next()) {
    if (entry.number() == 1 && entry.wire() == Wire::Bytes)
      key = TRY(text(entry.bytes(), field.name));
    if (entry.number() == 2) value = TRY(decode_value(field, entry, depth));
  }
  if (!entry.ok()) return malformed(field.name);
  Json& map = out[field.name];
  if (map.is_null()) map = Json::object();
  map[key.get<std::string>()] = std::move(value);
  return {};
}

Result<void> decode_list_item(const SchemaField& field, const Reader& reader, Nesting depth,
                              Json& out) {
  Json& list = out[field.name];
  if (list.is_null()) list = Json::array();
  const bool packable = field.kind == Kind::Integer || field.kind == Kind::Boolean;
  if (packable && reader.wire() == Wire::Bytes) {
    std::string_view packed = reader.bytes();
    while (!packed.empty()) {
      std::uint64_t integer = 0;
      if ((*depth.left)-- == 0) return malformed("too many fields");
      if (!Reader::read_varint(packed, integer)) return malformed(field.name);
      list.push_back(TRY(decode_number_value(field, Wire::Varint, integer)));
    }
    return {};
  }
  list.push_back(TRY(decode_value(field, reader, depth)));
  return {};
}

bool is_zero(const Json& value) {
  if (value.is_null()) return true;
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  if (value.is_boolean()) return !value.get<bool>();
  return value.is_number() && value == 0;
}

Result<void> decode_field(const SchemaField& field, const Reader& reader, Nesting depth,
                          Json& out) {
  if (field.inlined) {
    if (reader.wire() != Wire::Bytes) return malformed(field.name + " has the wrong wire type");
    return decode_message(*field.type, reader.bytes(), depth.deeper(), out);
  }
  if (field.shape == Shape::Map) return decode_map_entry(field, reader, depth, out);
  if (field.shape == Shape::List) return decode_list_item(field, reader, depth, out);
  Json value = TRY(decode_value(field, reader, depth));
  const bool keeps_zero = field.pointer || field.kind == Kind::IntOrString;
  if (value.is_null() || (is_zero(value) && !keeps_zero)) return {};
  out[field.name] = std::move(value);
  return {};
}

Result<void> decode_message(const SchemaType& type, std::string_view bytes, Nesting depth,
                            Json& out) {
  if (depth.level > kMostDepth) return malformed("nested too deeply");
  Reader reader(bytes);
  while (reader.next()) {
    // Fields of newer clients are skipped, as protobuf wants.
    const SchemaField* field = type.find_proto(reader.number());
    if (field == nullptr) continue;
    if ((*depth.left)-- == 0) return malformed("too many fields");
    TRY(decode_field(*field, reader, depth, out));
  }
  if (!reader.ok()) return malformed("bad encoding in " + type.name);
  return {};
}

struct Envelope {
  std::string api_version;
  std::string kind;
  std::string_view raw;
};

Result<Envelope> read_envelope(std::string_view bytes) {
  static constexpr std::string_view kMagic("k8s\0", 4);
  if (!bytes.starts_with(kMagic)) return malformed("it does not begin with the k8s magic number");
  Reader reader(bytes.substr(kMagic.size()));
  Envelope envelope;
  while (reader.next()) {
    if (reader.wire() != Wire::Bytes) continue;
    if (reader.number() == 2) envelope.raw = reader.bytes();
    if (reader.number() == 3 && !reader.bytes().empty())
      return malformed("a content encoding is not supported");
    if (reader.number() != 1) continue;
    Reader meta(reader.bytes());
    while (meta.next()) {
      if (meta.wire() != Wire::Bytes) continue;
      if (!protobuf::is_utf8(meta.bytes()) || meta.bytes().size() > 512)
        return malformed("bad type");
      if (meta.number() == 1) envelope.api_version = meta.bytes();
      if (meta.number() == 2) envelope.kind = meta.bytes();
    }
    if (!meta.ok()) return malformed("bad type");
  }
  if (!reader.ok()) return malformed("bad envelope");
  return envelope;
}

}  // namespace

Result<ParsedBody> parse_protobuf_body(std::string_view bytes) {
  const Envelope envelope = TRY(read_envelope(bytes));
  const SchemaType* type = Schema::instance().find_kind(envelope.api_version, envelope.kind);
  if (type == nullptr) {
    return Error{Code::BadRequest, "no kind \"" + envelope.kind +
                                       "\" is registered for version \"" + envelope.api_version +
                                       "\""};
  }
  Json document = Json::object();
  std::size_t left = kMostFields;
  TRY(decode_message(*type, envelope.raw, {0, &left}, document));
  document["apiVersion"] = envelope.api_version;
  document["kind"] = envelope.kind;
  return ParsedBody{std::move(document), {}};
}

}  // namespace coracle
