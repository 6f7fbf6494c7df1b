#ifndef TIDEGATE_STORE_CRC32C_H
#define TIDEGATE_STORE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* CRC-32C (Castagnoli, RFC 3720 appendix B.4). Chains: crc32c(crc32c(0, a), b) is the sum of a then
 * b; a secret first argument makes sums that a stranger cannot foresee. Any thread. */
uint32_t crc32c(uint32_t crc, const void *p, size_t len);

#endif
