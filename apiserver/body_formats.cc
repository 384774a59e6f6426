// Request bodies in JSON and YAML to one document. Both parsers hand over events, so that depth,
// duplicate keys and the work an alias may cause are bounded while the text is read.
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <cctype>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>
#include <unordered_map>

#include "protobuf.h"
#include "schema.h"

namespace coracle {
namespace {

constexpr std::size_t kMostDepth = 1000;
constexpr std::size_t kMostDuplicates = 100;
// Of one document: a value of two bytes takes fifty times as much in memory, and defaults more.
constexpr std::size_t kMostValues = 400'000;  // containers count twice
constexpr const char* kTooMany = "too many values";
constexpr std::size_t kLongestPath = 1024;  // of a duplicate that is reported
// What aliases may add to a document, in bytes of values: enough for people, too little for a bomb.
constexpr std::size_t kMostAliasBytes = std::size_t{4} << 20;

// Builds a document from events and notices members that come twice (the last one stays).
class Builder {
 public:
  struct Frame {
    Json value;
    std::string key;
    bool has_key = false;
    std::size_t index = 0;
  };

  bool open(Json empty) {
    if (++values_ > kMostValues) return fail(kTooMany);
    if (frames_.size() >= kMostDepth) return fail("exceeded max depth of 1000");
    frames_.push_back({std::move(empty), {}, false, 0});
    return true;
  }
  bool key(std::string name) {
    Frame& top = frames_.back();
    if (top.value.contains(name) && duplicates_.size() < kMostDuplicates)
      duplicates_.push_back(path_to(name));
    top.key = std::move(name);
    top.has_key = true;
    return true;
  }
  bool value(Json item) {
    if (++values_ > kMostValues) return fail(kTooMany);
    if (frames_.empty()) {
      result_ = std::move(item);
      done_ = true;
      return true;
    }
    Frame& top = frames_.back();
    if (top.value.is_array()) {
      top.value.push_back(std::move(item));
      ++top.index;
    } else {
      top.value[std::move(top.key)] = std::move(item);
      top.has_key = false;
    }
    return true;
  }
  // The member that the last key() began gets no value.
  void drop_key() { frames_.back().has_key = false; }
  // The innermost container is complete; it is still to be given to value().
  Json close() {
    Json item = std::move(frames_.back().value);
    frames_.pop_back();
    return item;
  }
  bool fail(std::string message) {
    if (error_.empty()) error_ = std::move(message);
    return false;
  }

  bool expects_key() const {
    return !frames_.empty() && frames_.back().value.is_object() && !frames_.back().has_key;
  }
  bool done() const { return done_; }
  const std::string& error() const { return error_; }
  Json take() { return std::move(result_); }
  std::vector<std::string> take_duplicates() { return std::move(duplicates_); }

 private:
  std::string path_to(const std::string& name) const {
    std::string path;
    for (const Frame& frame : frames_) {
      if (&frame == &frames_.back()) break;
      if (frame.value.is_array()) {
        path += "[" + std::to_string(frame.index) + "]";
      } else {
        path += (path.empty() ? "" : ".") + frame.key.substr(0, kLongestPath);
      }
      if (path.size() > kLongestPath) return path.substr(0, kLongestPath) + "...";
    }
    return path + (path.empty() ? "" : ".") + name.substr(0, kLongestPath);
  }

  std::vector<Frame> frames_;
  Json result_;
  bool done_ = false;
  std::size_t values_ = 0;
  std::string error_;
  std::vector<std::string> duplicates_;
};

class JsonEvents : public nlohmann::json_sax<Json> {
 public:
  explicit JsonEvents(Builder& builder) : builder_(builder) {}
  bool null() override { return builder_.value(nullptr); }
  bool boolean(bool value) override { return builder_.value(value); }
  bool number_integer(number_integer_t value) override { return builder_.value(value); }
  bool number_unsigned(number_unsigned_t value) override { return builder_.value(value); }
  bool number_float(number_float_t value, const string_t& text) override {
    // A whole number that does not fit 64 bits arrives here too; its type check refuses it later.
    if (!std::isfinite(value)) return builder_.fail("number out of range: " + text.substr(0, 64));
    return builder_.value(value);
  }
  bool string(string_t& value) override { return builder_.value(std::move(value)); }
  bool binary(binary_t& /*value*/) override { return builder_.fail("binary value"); }
  bool start_object(std::size_t /*elements*/) override { return builder_.open(Json::object()); }
  bool key(string_t& name) override { return builder_.key(std::move(name)); }
  bool end_object() override { return builder_.value(builder_.close()); }
  bool start_array(std::size_t /*elements*/) override { return builder_.open(Json::array()); }
  bool end_array() override { return builder_.value(builder_.close()); }
  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::detail::exception& error) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error ..."
    std::string what = error.what();
    if (const auto end = what.find("] "); end != std::string::npos) what = what.substr(end + 2);
    if (what.size() > 300) what = "parse error at byte " + std::to_string(position);
    return builder_.fail(what);
  }

 private:
  Builder& builder_;
};

Error unreadable(const std::string& format, const std::string& why) {
  return {Code::BadRequest, "the object provided is not valid " + format + ": " + why};
}

bool all_of(std::string_view text, std::string_view alphabet) {
  return !text.empty() && text.find_first_not_of(alphabet) == std::string_view::npos;
}

// Integers as the YAML library of Kubernetes reads them: decimal, 0x, 0o, 0b, and a leading zero
// for octal (file modes).
bool yaml_integer(std::string_view text, Json& out) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  int base = 10;
  if (text.starts_with("0x")) {
    base = 16;
    text.remove_prefix(2);
  } else if (text.starts_with("0o")) {
    base = 8;
    text.remove_prefix(2);
  } else if (text.starts_with("0b")) {
    base = 2;
    text.remove_prefix(2);
  } else if (text.size() > 1 && text.starts_with('0') && all_of(text, "01234567")) {
    base = 8;
  }
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number, base);
  if (text.empty() || error != std::errc() || rest != end) return false;
  constexpr std::uint64_t kMost = std::uint64_t{1} << 63U;
  if (!negative) {
    out = number;
    return true;
  }
  if (number > kMost) return false;
  out = static_cast<std::int64_t>(~number + 1);
  return true;
}

bool yaml_float(std::string_view text, Json& out) {
  if (!all_of(text, "+-.eE0123456789") ||
      text.find_first_of("0123456789") == std::string_view::npos)
    return false;
  if (text.starts_with('+')) text.remove_prefix(1);
  double number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || rest != end || !std::isfinite(number)) return false;
  out = number;
  return true;
}

// A plain scalar by the core schema.
Json plain_scalar(const std::string& text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return {};
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  Json number;
  if (yaml_integer(text, number) || yaml_float(text, number)) return number;
  return text;
}

std::size_t weight(const Json& value) {
  std::size_t sum = 16;
  if (value.is_string()) sum += value.get_ref<const std::string&>().size();
  if (value.is_structured()) {
    for (const auto& [key, item] : value.items()) sum += key.size() + weight(item);
  }
  return sum;
}

// Thrown through yaml-cpp, which has no other way to be stopped; caught in parse_yaml_body.
struct Stop {};

class YamlEvents : public YAML::EventHandler {
 public:
  explicit YamlEvents(Builder& builder) : builder_(builder) {}

  void OnDocumentStart(const YAML::Mark& /*mark*/) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& /*mark*/, YAML::anchor_t anchor) override {
    complete(anchor, builder_.expects_key() ? Json("null") : Json());
  }
  void OnAlias(const YAML::Mark& /*mark*/, YAML::anchor_t anchor) override {
    const auto it = anchors_.find(anchor);
    if (it == anchors_.end()) stop("an alias stands inside its own anchor");
    spend(it->second.weight);
    complete(0, it->second.value);
  }
  void OnScalar(const YAML::Mark& /*mark*/, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    if (!protobuf::is_utf8(text)) stop("invalid UTF-8");
    if (builder_.expects_key()) {
      merge_key_ = text == "<<" && tag == "?";
      complete(anchor, text);
      return;
    }
    if (tag == "?") {
      complete(anchor, plain_scalar(text));
    } else if (tag.starts_with("tag:yaml.org,2002:") && tag != "tag:yaml.org,2002:str") {
      complete(anchor, tag == "tag:yaml.org,2002:binary" ? Json(text) : plain_scalar(text));
    } else {
      complete(anchor, text);
    }
  }
  void OnSequenceStart(const YAML::Mark& /*mark*/, const std::string& /*tag*/,
                       YAML::anchor_t anchor, YAML::EmitterStyle::value /*style*/) override {
    open(Json::array(), anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& /*mark*/, const std::string& /*tag*/, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value /*style*/) override {
    open(Json::object(), anchor);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Anchored {
    Json value;
    std::size_t weight = 0;
  };
  struct Open {
    YAML::anchor_t anchor = 0;
    Json merged;           // what "<<" brought into this mapping
    bool merging = false;  // this container is the value of a "<<"
  };

  [[noreturn]] void stop(const std::string& why) {
    builder_.fail(why);
    throw Stop();
  }
  void spend(std::size_t bytes) {
    spent_ += bytes;
    if (spent_ > kMostAliasBytes) stop("too many or too large aliases");
  }
  void open(Json empty, YAML::anchor_t anchor) {
    if (builder_.expects_key()) stop("a key is no scalar");
    if (!builder_.open(std::move(empty))) throw Stop();
    open_.push_back({anchor, Json(), merge_value_});
    merge_value_ = false;
  }
  void close() {
    Open top = std::move(open_.back());
    open_.pop_back();
    Json item = builder_.close();
    if (item.is_object() && top.merged.is_object()) {
      for (auto& [key, inherited] : top.merged.items())
        if (!item.contains(key)) item[key] = std::move(inherited);
    }
    merge_value_ = top.merging;
    complete(top.anchor, std::move(item));
  }
  // A value is whole: an anchor keeps it, its container takes it.
  void complete(YAML::anchor_t anchor, Json item) {
    if (anchor != 0) {
      const std::size_t size = weight(item);
      spend(size);
      anchors_[anchor] = {item, size};
    }
    if (builder_.expects_key()) {
      if (!item.is_string()) stop("a key is no string");
      merge_value_ = merge_key_;
      merge_key_ = false;
      builder_.key(item.get<std::string>());
      return;
    }
    if (merge_value_) {
      merge_value_ = false;
      merge(item);
      builder_.drop_key();
      return;
    }
    if (!builder_.value(std::move(item))) throw Stop();
  }
  void merge(const Json& item) {
    Json& merged = open_.back().merged;
    if (merged.is_null()) merged = Json::object();
    if (item.is_object()) {
      for (const auto& [key, value] : item.items())
        if (!merged.contains(key)) merged[key] = value;
      return;
    }
    if (!item.is_array()) stop("map merge requires a map or a sequence of maps as the value");
    for (const Json& one : item) {
      if (!one.is_object()) stop("map merge requires a map or a sequence of maps as the value");
      merge(one);
    }
  }

  Builder& builder_;
  std::vector<Open> open_;
  std::unordered_map<YAML::anchor_t, Anchored> anchors_;
  std::size_t spent_ = 0;
  bool merge_key_ = false;    // the key being read is "<<"
  bool merge_value_ = false;  // the next value of this mapping belongs to a "<<"
};

}  // namespace

Result<ParsedBody> parse_json_body(std::string_view text) {
  Builder builder;
  JsonEvents events(builder);
  const bool good = Json::sax_parse(text.begin(), text.end(), &events);
  if (!good || !builder.done()) return unreadable("JSON", builder.error());
  return ParsedBody{builder.take(), builder.take_duplicates()};
}

Result<ParsedBody> parse_yaml_body(std::string_view text) {
  Builder builder;
  YamlEvents events(builder);
  try {
    std::istringstream in{std::string(text)};
    YAML::Parser parser(in);
    if (!parser.HandleNextDocument(events) || !builder.done())
      return unreadable("YAML", "the document is empty");
  } catch (const Stop&) {
    return unreadable("YAML", builder.error());
  } catch (const YAML::Exception& error) {
    return unreadable("YAML", std::string(error.what()).substr(0, 300));
  }
  return ParsedBody{builder.take(), builder.take_duplicates()};
}

}  // namespace coracle
