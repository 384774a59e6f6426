// Label and field selectors: parsing and matching. Pure.
// Grammar: apimachinery's label selector ("a=b,c in (x,y),!d,e>5") and field selector
// ("a.b=c,d!=e").
#pragma once

#include <coracle/result.h>

#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace coracle {

using Labels = std::map<std::string, std::string>;

class LabelSelector {
 public:
  enum class Operator { Equals, NotEquals, In, NotIn, Exists, DoesNotExist, GreaterThan, LessThan };
  struct Requirement {
    std::string key;
    Operator op = Operator::Equals;
    std::vector<std::string> values;  // sorted once they are a selector's
    bool operator==(const Requirement&) const = default;
  };

  LabelSelector() = default;  // matches everything
  explicit LabelSelector(std::vector<Requirement> requirements);
  // BadRequest "unable to parse requirement: ..." with what was wrong and where, or for more than
  // 500 requirements.
  static Result<LabelSelector> parse(std::string_view text);
  // All labels equal. An empty map matches everything.
  static LabelSelector from_map(const Labels& labels);
  // A meta/v1 LabelSelector document {matchLabels, matchExpressions}. Invalid on an unknown
  // operator.
  static Result<LabelSelector> from_json(const nlohmann::json& selector);

  bool matches(const Labels& labels) const;
  bool empty() const { return requirements_.empty(); }
  const std::vector<Requirement>& requirements() const { return requirements_; }
  std::string to_string() const;

 private:
  std::vector<Requirement> requirements_;
};

class FieldSelector {
 public:
  struct Term {
    std::string field;
    bool equal = true;
    std::string value;
    bool operator==(const Term&) const = default;
  };
  // BadRequest with what was wrong, or for more than 100 terms.
  static Result<FieldSelector> parse(std::string_view text);
  // `value_of` yields the field's text, "" when absent.
  bool matches(const std::function<std::string(const std::string& field)>& value_of) const;
  const std::vector<Term>& terms() const { return terms_; }
  bool empty() const { return terms_.empty(); }
  std::string to_string() const;

 private:
  std::vector<Term> terms_;
};

}  // namespace coracle
