// Kubernetes quantities: "1.5", "200m", "3Gi", "1e3". Pure.
#pragma once

#include <coracle/object.h>

#include <cstdint>
#include <string>

namespace coracle {

// `text` times `scale`, rounded up: quantity("1.5", 1000) is 1500. 0 for what is no quantity, the
// largest number for what is beyond it.
std::int64_t quantity(const std::string& text, std::uint64_t scale);
// As JSON has it, a string or a number.
std::int64_t quantity(const Json& value, std::uint64_t scale);

// Whether it is one at all; "-1" is, and counts as 0 above.
bool is_quantity(const std::string& text);
// Without a fraction. REQUIRES: it is a quantity and not negative.
bool is_whole_quantity(const std::string& text);
// <0, 0, >0, to a billionth. REQUIRES: both are quantities, neither negative.
int compare_quantities(const std::string& a, const std::string& b);
// As upstream prints it: "2000m" is "2", "0.5" is "500m", "1024Mi" is "1Gi". What is none, negative
// or too fine for that comes back as it was.
std::string canonical_quantity(const std::string& text);

}  // namespace coracle
