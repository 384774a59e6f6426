#include <coracle/labels.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>

namespace coracle {
namespace {

using Operator = LabelSelector::Operator;
using Requirement = LabelSelector::Requirement;

// A selector is asked of every object of a kind: what it costs each of them is bounded.
constexpr std::size_t kMostRequirements = 500;
constexpr std::size_t kMostTerms = 100;

Error too_many(const char* what, std::size_t limit) {
  return {Code::BadRequest,
          std::string("a selector may have at most ") + std::to_string(limit) + " " + what};
}

Error unparsable(const std::string& why) {
  return {Code::BadRequest, "unable to parse requirement: " + why};
}

bool is_word_char(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
}

// A qualified name: [prefix/]name with names of at most 63 characters that start and end
// alphanumeric.
bool valid_name_part(std::string_view name) {
  if (name.empty() || name.size() > 63) return false;
  if (std::isalnum(static_cast<unsigned char>(name.front())) == 0) return false;
  if (std::isalnum(static_cast<unsigned char>(name.back())) == 0) return false;
  return std::all_of(name.begin(), name.end(), is_word_char);
}
// A DNS subdomain.
bool valid_prefix(std::string_view prefix) {
  const auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  };
  if (prefix.empty() || prefix.size() > 253) return false;
  if (!std::all_of(prefix.begin(), prefix.end(), good)) return false;
  const auto edge = [](char c) { return c == '-' || c == '.'; };
  for (std::size_t i = 0; i < prefix.size(); ++i) {
    const bool first = i == 0 || prefix[i - 1] == '.';
    const bool last = i + 1 == prefix.size() || prefix[i + 1] == '.';
    if ((first || last) && edge(prefix[i])) return false;
  }
  return true;
}
bool valid_key(std::string_view key) {
  const auto slash = key.find('/');
  if (slash == std::string_view::npos) return valid_name_part(key);
  return valid_prefix(key.substr(0, slash)) && valid_name_part(key.substr(slash + 1));
}
bool valid_value(std::string_view value) {
  return value.empty() || valid_name_part(value);
}

std::optional<long long> to_integer(const std::string& text) {
  long long value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<std::vector<Requirement>> parse() {
    std::vector<Requirement> out;
    skip();
    while (at_ < text_.size()) {
      if (out.size() == kMostRequirements) return too_many("requirements", kMostRequirements);
      out.push_back(TRY(requirement()));
      skip();
      if (at_ == text_.size()) break;
      if (text_[at_] != ',')
        return unparsable("found '" + rest() + "', expected: ',' or 'end of string'");
      ++at_;
      skip();
      if (at_ == text_.size()) return unparsable("found '', expected: identifier after ','");
    }
    return out;
  }

 private:
  void skip() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
  }
  std::string rest() const { return std::string(text_.substr(at_, 32)); }
  bool take(std::string_view token) {
    if (text_.substr(at_, token.size()) != token) return false;
    at_ += token.size();
    return true;
  }
  std::string word() {
    skip();
    const std::size_t start = at_;
    while (at_ < text_.size() && (is_word_char(text_[at_]) || text_[at_] == '/')) ++at_;
    return std::string(text_.substr(start, at_ - start));
  }

  Result<Requirement> requirement() {
    const bool negated = take("!");
    Requirement r;
    r.key = word();
    if (r.key.empty())
      return unparsable("found '" + rest() + "', expected: !, identifier, or 'end of string'");
    if (!valid_key(r.key))
      return unparsable("<nil>: Invalid value: \"" + r.key +
                        "\": name part must consist of alphanumeric characters, '-', '_' or '.'");
    skip();
    if (negated) {
      r.op = Operator::DoesNotExist;
      return r;
    }
    if (at_ == text_.size() || text_[at_] == ',') {
      r.op = Operator::Exists;
      return r;
    }
    TRY(operation(r));
    return r;
  }

  Result<void> operation(Requirement& r) {
    if (take("!=")) {
      r.op = Operator::NotEquals;
    } else if (take("==") || take("=")) {
      r.op = Operator::Equals;
    } else if (take(">")) {
      r.op = Operator::GreaterThan;
    } else if (take("<")) {
      r.op = Operator::LessThan;
    } else {
      return set_operation(r);
    }
    r.values = {word()};
    if (!valid_value(r.values[0]))
      return unparsable("values[0]: Invalid value: \"" + r.values[0] +
                        "\": a valid label value is needed");
    const bool ordered = r.op == Operator::GreaterThan || r.op == Operator::LessThan;
    if (ordered && !to_integer(r.values[0]))
      return unparsable("values[0]: Invalid value: \"" + r.values[0] +
                        "\": for 'Gt', 'Lt' operators, the value must be an integer");
    return {};
  }

  Result<void> set_operation(Requirement& r) {
    const std::size_t start = at_;
    const std::string name = word();
    if (name == "in") {
      r.op = Operator::In;
    } else if (name == "notin") {
      r.op = Operator::NotIn;
    } else {
      at_ = start;
      return unparsable("found '" + rest() + "', expected: in, notin, =, ==, !=, gt, lt");
    }
    skip();
    if (!take("(")) return unparsable("found '" + rest() + "', expected: '('");
    for (;;) {
      r.values.push_back(word());
      if (!valid_value(r.values.back()))
        return unparsable("Invalid value: \"" + r.values.back() +
                          "\": a valid label value is needed");
      skip();
      if (take(")")) break;
      if (!take(",")) return unparsable("found '" + rest() + "', expected: ',' or ')'");
    }
    return {};
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

bool contains(const std::vector<std::string>& sorted, const std::string& value) {
  return std::binary_search(sorted.begin(), sorted.end(), value);
}

bool holds(const Requirement& r, const Labels& labels) {
  const auto it = labels.find(r.key);
  const bool present = it != labels.end();
  switch (r.op) {
    case Operator::Equals:
    case Operator::In:
      return present && contains(r.values, it->second);
    case Operator::NotEquals:
    case Operator::NotIn:
      return !present || !contains(r.values, it->second);
    case Operator::Exists:
      return present;
    case Operator::DoesNotExist:
      return !present;
    case Operator::GreaterThan:
    case Operator::LessThan: {
      const auto mine = present ? to_integer(it->second) : std::nullopt;
      const auto limit = to_integer(r.values[0]);
      if (!mine || !limit) return false;
      return r.op == Operator::GreaterThan ? *mine > *limit : *mine < *limit;
    }
  }
  return false;
}

std::string join(const std::vector<std::string>& values) {
  std::string out;
  for (const auto& value : values) out += (&value == &values.front() ? "" : ",") + value;
  return out;
}

std::string print(const Requirement& r) {
  switch (r.op) {
    case Operator::Equals:
      return r.key + "=" + r.values[0];
    case Operator::NotEquals:
      return r.key + "!=" + r.values[0];
    case Operator::In:
      return r.key + " in (" + join(r.values) + ")";
    case Operator::NotIn:
      return r.key + " notin (" + join(r.values) + ")";
    case Operator::Exists:
      return r.key;
    case Operator::DoesNotExist:
      return "!" + r.key;
    case Operator::GreaterThan:
      return r.key + ">" + r.values[0];
    case Operator::LessThan:
      return r.key + "<" + r.values[0];
  }
  return "";
}

Result<Requirement> read_expression(const nlohmann::json& expression) {
  const auto text = [&](const char* name) {
    const auto it = expression.is_object() ? expression.find(name) : expression.end();
    return expression.is_object() && it != expression.end() && it->is_string()
               ? it->get<std::string>()
               : std::string();
  };
  Requirement r;
  r.key = text("key");
  const std::string op = text("operator");
  if (op == "In")
    r.op = Operator::In;
  else if (op == "NotIn")
    r.op = Operator::NotIn;
  else if (op == "Exists")
    r.op = Operator::Exists;
  else if (op == "DoesNotExist")
    r.op = Operator::DoesNotExist;
  else
    return Error{Code::Invalid, "\"" + op + "\" is not a valid label selector operator"};
  if (expression.contains("values") && expression["values"].is_array())
    for (const auto& value : expression["values"])
      if (value.is_string()) r.values.push_back(value.get<std::string>());
  const bool wants_values = r.op == Operator::In || r.op == Operator::NotIn;
  if (wants_values == r.values.empty())
    return Error{Code::Invalid, "values of operator " + op +
                                    (wants_values ? " must be given" : " must not be given")};
  return r;
}

}  // namespace

LabelSelector::LabelSelector(std::vector<Requirement> requirements)
    : requirements_(std::move(requirements)) {
  for (Requirement& r : requirements_) std::sort(r.values.begin(), r.values.end());
}

Result<LabelSelector> LabelSelector::parse(std::string_view text) {
  return LabelSelector(TRY(Parser(text).parse()));
}

LabelSelector LabelSelector::from_map(const Labels& labels) {
  std::vector<Requirement> requirements;
  for (const auto& [key, value] : labels) requirements.push_back({key, Operator::Equals, {value}});
  return LabelSelector(std::move(requirements));
}

Result<LabelSelector> LabelSelector::from_json(const nlohmann::json& selector) {
  std::vector<Requirement> requirements;
  if (selector.is_object() && selector.contains("matchLabels") &&
      selector["matchLabels"].is_object())
    for (const auto& [key, value] : selector["matchLabels"].items())
      if (value.is_string())
        requirements.push_back({key, Operator::Equals, {value.get<std::string>()}});
  if (selector.is_object() && selector.contains("matchExpressions") &&
      selector["matchExpressions"].is_array())
    for (const auto& expression : selector["matchExpressions"])
      requirements.push_back(TRY(read_expression(expression)));
  return LabelSelector(std::move(requirements));
}

bool LabelSelector::matches(const Labels& labels) const {
  return std::all_of(requirements_.begin(), requirements_.end(),
                     [&](const Requirement& r) { return holds(r, labels); });
}

std::string LabelSelector::to_string() const {
  std::string out;
  for (const auto& r : requirements_) out += (out.empty() ? "" : ",") + print(r);
  return out;
}

Result<FieldSelector> FieldSelector::parse(std::string_view text) {
  FieldSelector out;
  std::size_t at = 0;
  while (at < text.size()) {
    std::string parts[2];
    int part = 0;
    bool equal = true;
    for (; at < text.size() && text[at] != ','; ++at) {
      const char c = text[at];
      if (c == '\\') {
        if (at + 1 == text.size() ||
            std::string_view(",=\\").find(text[at + 1]) == std::string_view::npos)
          return Error{Code::BadRequest, "invalid field selector: invalid escape sequence in \"" +
                                             std::string(text) + "\""};
        parts[part] += text[++at];
      } else if (part == 0 && (c == '=' || (c == '!' && text.substr(at + 1, 1) == "="))) {
        equal = c == '=';
        part = 1;
        if (text.substr(at + 1, 1) == "=") ++at;
      } else if (c == '=') {
        return Error{Code::BadRequest,
                     "invalid field selector: unescaped '=' in \"" + std::string(text) + "\""};
      } else {
        parts[part] += c;
      }
    }
    ++at;
    if (part == 0 && parts[0].empty()) continue;  // "a=b," and ","
    if (part == 0 || parts[0].empty())
      return Error{Code::BadRequest, "invalid selector: '" + std::string(text) +
                                         "'; can't understand '" + parts[0] + "'"};
    if (out.terms_.size() == kMostTerms) return too_many("terms", kMostTerms);
    out.terms_.push_back({parts[0], equal, parts[1]});
  }
  return out;
}

bool FieldSelector::matches(const std::function<std::string(const std::string&)>& value_of) const {
  return std::all_of(terms_.begin(), terms_.end(), [&](const Term& term) {
    return (value_of(term.field) == term.value) == term.equal;
  });
}

std::string FieldSelector::to_string() const {
  const auto escaped = [](const std::string& text) {
    std::string out;
    for (const char c : text) {
      if (c == ',' || c == '=' || c == '\\') out += '\\';
      out += c;
    }
    return out;
  };
  std::string out;
  for (const Term& term : terms_)
    out += (out.empty() ? "" : ",") + escaped(term.field) + (term.equal ? "=" : "!=") +
           escaped(term.value);
  return out;
}

}  // namespace coracle
