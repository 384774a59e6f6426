// How often the nf_tables ruleset of this network namespace has been changed, by anybody: a cheap
// way to know that nobody touched it (net/netfilter/nf_tables_api.c, NFT_MSG_GETGEN).
#pragma once

#include <coracle/result.h>

#include <cstdint>

namespace coracle {

// Of the calling thread's network namespace; a changed ruleset has another one. Internal when the
// kernel does not tell.
Result<std::uint32_t> nft_generation();

}  // namespace coracle
