#include "node/probe_packet.h"
#include "targets.h"

namespace coracle::fuzz {

void fuzz_probe(Input input) {
  const auto packet = decode_probe(input);
  if (packet) {
    require(input.size() >= kSmallProbe, "a packet is at least as long as the shortest");
    require(decode_probe(encode_probe(*packet, input.size())) == packet,
            "a packet that is written is read as the same");
    if (packet->server)
      require(parse_server_url(server_url(*packet->server)) == packet->server,
              "a server that is announced has a URL");
  }
  const auto server = parse_server_url(text_of(input));
  if (server) require(parse_server_url(server_url(*server)) == server, "a URL is of one server");
}

}  // namespace coracle::fuzz
