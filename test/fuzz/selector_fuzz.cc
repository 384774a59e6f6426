#include <coracle/labels.h>
#include <coracle/object.h>

#include <nlohmann/json.hpp>

#include "targets.h"

namespace coracle::fuzz {
namespace {

Labels read_labels(std::string_view text) {
  Labels labels;
  while (!text.empty()) {
    const std::string_view line = take_line(text);
    const std::size_t equals = line.find('=');
    if (equals != std::string_view::npos)
      labels[std::string(line.substr(0, equals))] = line.substr(equals + 1);
  }
  return labels;
}

// The selector's own labels one at a time, so that what it asks for is asked.
std::vector<Labels> candidates(const LabelSelector& selector, const Labels& given) {
  std::vector<Labels> out = {{}, given};
  for (const auto& requirement : selector.requirements()) {
    Labels labels = given;
    for (const std::string& value : requirement.values) {
      labels[requirement.key] = value;
      out.push_back(labels);
      if (out.size() > 64) return out;
    }
    labels[requirement.key] = "7";
    out.push_back(labels);
    labels.erase(requirement.key);
    out.push_back(labels);
  }
  return out;
}

void label_selector(std::string_view text, const Labels& given) {
  const auto selector = LabelSelector::parse(text);
  if (!selector) return;
  const std::string printed = selector->to_string();
  const auto again = LabelSelector::parse(printed);
  require(again.has_value(), "a printed selector can be parsed: " + printed);
  require(again->to_string() == printed, "a selector is printed one way");
  require(again->empty() == selector->empty(), "printing drops no requirement");
  for (const Labels& labels : candidates(*selector, given))
    require(again->matches(labels) == selector->matches(labels),
            "a printed selector selects the same: " + printed);
}

void field_selector(std::string_view text, const Labels& given) {
  const auto selector = FieldSelector::parse(text);
  if (!selector) return;
  const std::string printed = selector->to_string();
  const auto again = FieldSelector::parse(printed);
  require(again && again->terms() == selector->terms(),
          "a printed field selector is the same selector: " + printed);
  const auto value_of = [&](const std::string& field) {
    const auto it = given.find(field);
    return it == given.end() ? std::string() : it->second;
  };
  require(again->matches(value_of) == selector->matches(value_of), "and it selects the same");
}

// {matchLabels, matchExpressions} says the same as the text, where it can.
void json_selector(const Labels& given) {
  const Json document = {{"matchLabels", given}};
  const auto selector = LabelSelector::from_json(document);
  require(selector.has_value(), "labels make a selector");
  require(selector->matches(given), "labels match themselves");
  require(LabelSelector::from_map(given).matches(given), "labels match themselves");
}

}  // namespace

void fuzz_selector(Input input) {
  std::string_view text = text_of(input);
  const std::string_view labels = take_line(text);
  const std::string_view fields = take_line(text);
  const Labels given = read_labels(text);
  label_selector(labels, given);
  field_selector(fields, given);
  json_selector(given);
  const Json document = Json::parse(labels, nullptr, false);
  if (!document.is_discarded()) (void)LabelSelector::from_json(document).has_value();
}

}  // namespace coracle::fuzz
