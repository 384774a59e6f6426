#include "kubeconfig.h"

#include <openssl/evp.h>

namespace coracle {

std::string base64_encode(const std::string& bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());              // NOLINT
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), data,  // NOLINT
                                   static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(size));
  return out;
}

std::string kubeconfig_text(const Pki& pki, const std::string& server) {
  std::string out = "apiVersion: v1\nkind: Config\nclusters:\n- name: coracle\n  cluster:\n";
  out += "    server: " + server + "\n";
  out += "    certificate-authority-data: " + base64_encode(pki.ca_certificate) + "\n";
  out += "users:\n- name: admin\n  user:\n";
  out += "    client-certificate-data: " + base64_encode(pki.admin_certificate) + "\n";
  out += "    client-key-data: " + base64_encode(pki.admin_key) + "\n";
  out += "contexts:\n- name: coracle\n  context:\n    cluster: coracle\n    user: admin\n";
  out += "current-context: coracle\npreferences: {}\n";
  return out;
}

Result<void> write_kubeconfig(const std::string& path, const Pki& pki, const std::string& server) {
  return write_file_atomically(path, kubeconfig_text(pki, server), 0600);
}

}  // namespace coracle
