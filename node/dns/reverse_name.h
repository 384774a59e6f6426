// Addresses as names below in-addr.arpa (RFC 1035, 3.5) and ip6.arpa (RFC 3596, 2.5). Pure,
// thread-safe.
#pragma once

#include <coracle/net.h>

#include <optional>

#include "dns/name.h"

namespace coracle::dns {

// What a name of 1 to 4 numbers or 1 to 32 hexadecimal digits stands for: all addresses that begin
// so. Nothing for other names, those of leading zeros among them.
std::optional<Cidr> parse_reverse(const Name& name);
// The name of the first `bits` of an address. REQUIRES: a multiple of 8, with IPv6 of 4.
Name reverse_name(const Ip& ip, int bits);
// How many bits the name of the zone has that holds `range`: the range's, rounded up to whole
// labels, but neither none nor those of a single address.
int reverse_zone_bits(const Cidr& range);

}  // namespace coracle::dns
