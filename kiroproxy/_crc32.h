/* CRC-32 as zlib, Ethernet and event streams use it (ISO-HDLC: reflected 0xEDB88320).
 *
 * Two paths that must give the same number for every input:
 *   tables    slicing by 16; portable C, no assumption on alignment or byte order
 *   hardware  x86-64: carry-less multiplication; folds 64 bytes a turn, then 16, then the last
 *             1..15 by overlapping loads, so no byte is walked through a table.
 *             aarch64: the CRC32 instructions, 8 bytes each
 * The path is chosen once, at import, by asking the CPU. Functions here take and return the
 * *published* value (inverted at both ends), so a sum can be continued from any prefix.
 *
 * Why not a library: on one EPYC core, ns for 8 / 123 / 16384 bytes, each sum waiting for the
 * last: zlib 1.2.13 20 / 152 / 4050, tables 5 / 48 / 5240, hardware 5 / 25 / 1230. libdeflate and
 * ISA-L are where hardware is, and would be a dependency to build and ship for that.
 *
 * Rules of this file: no allocation, no Python, no global but the tables and the choice, which
 * kp_crc32_init writes before any reader exists.
 *
 * Source: the folding method is Gopal et al., "Fast CRC Computation for Generic Polynomials
 * Using PCLMULQDQ" (Intel, 2009); each constant below states its formula.
 */
#ifndef KIROPROXY_CRC32_H
#define KIROPROXY_CRC32_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static uint32_t kp_crc_table[16][256]; /* [k][b]: b followed by k zero bytes; 16 KiB */

static void kp_crc_fill_tables(void) {
  for (uint32_t b = 0; b < 256; b++) {
    uint32_t crc = b;
    for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (0xEDB88320u & (0u - (crc & 1)));
    kp_crc_table[0][b] = crc;
  }
  for (int k = 1; k < 16; k++)
    for (int b = 0; b < 256; b++) {
      uint32_t before = kp_crc_table[k - 1][b];
      kp_crc_table[k][b] = (before >> 8) ^ kp_crc_table[0][before & 0xff];
    }
}

/* Little-endian whatever the host; compilers make one load of it where they can. */
static inline uint32_t kp_crc_load32(const uint8_t *p) {
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Four bytes of `word`, the first of which has `k` bytes behind it. */
static inline uint32_t kp_crc_word(uint32_t word, int k) {
  return kp_crc_table[k][word & 0xff] ^ kp_crc_table[k - 1][(word >> 8) & 0xff] ^
         kp_crc_table[k - 2][(word >> 16) & 0xff] ^ kp_crc_table[k - 3][word >> 24];
}

static uint32_t kp_crc32_tables(uint32_t seed, const uint8_t *p, size_t size) {
  uint32_t crc = ~seed;
  for (; size >= 16; size -= 16, p += 16)
    crc = kp_crc_word(kp_crc_load32(p) ^ crc, 15) ^ kp_crc_word(kp_crc_load32(p + 4), 11) ^
          kp_crc_word(kp_crc_load32(p + 8), 7) ^ kp_crc_word(kp_crc_load32(p + 12), 3);
  if (size >= 8) {
    crc = kp_crc_word(kp_crc_load32(p) ^ crc, 7) ^ kp_crc_word(kp_crc_load32(p + 4), 3);
    size -= 8, p += 8;
  }
  if (size >= 4) {
    crc = kp_crc_word(kp_crc_load32(p) ^ crc, 3);
    size -= 4, p += 4;
  }
  for (; size; size--) crc = (crc >> 8) ^ kp_crc_table[0][(crc ^ *p++) & 0xff];
  return ~crc;
}

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

/* k(n) = reverse32(x^n mod P) << 1, the multiplier that moves a reflected 64-bit half n + 32
 * bits up the polynomial (the product of two reflected halves comes out one bit low, hence the
 * shift). Low half first: it is the earlier data and has 64 bits further to go. */
#define KP_FOLD_64 _mm_set_epi64x(0x1c6e41596, 0x154442bd4) /* k(480), k(544): 64 bytes up */
#define KP_FOLD_16 _mm_set_epi64x(0x0ccaa009e, 0x1751997d0) /* k(96),  k(160): 16 bytes up */
#define KP_FOLD_4 _mm_set_epi64x(0, 0x163cd6124)            /* k(64) */
#define KP_BARRETT _mm_set_epi64x(0x1f7011641, 0x1db710641) /* reversed x^64 / P, reversed P */

/* Byte shuffles that move a register up or down by a count that is not a constant: 16 bytes
 * read at [r] shift by 16 - r towards the end, at [16 + r] by r towards the start; 0x80 = zero. */
static const uint8_t kp_crc_shift[48] = {
    0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
    0,    1,    2,    3,    4,    5,    6,    7,    8,    9,    10,   11,   12,   13,   14,   15,
    0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80};

#define KP_CRC_TARGET __attribute__((target("pclmul,sse4.1")))
#define KP_LOAD(p) _mm_loadu_si128((const __m128i *)(p))

KP_CRC_TARGET static inline __m128i kp_crc_fold(__m128i x, __m128i by, __m128i next) {
  __m128i low = _mm_clmulepi64_si128(x, by, 0x00), high = _mm_clmulepi64_si128(x, by, 0x11);
  return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

KP_CRC_TARGET static inline uint32_t kp_crc_reduce(__m128i x) {
  const __m128i low32 = _mm_set_epi32(0, 0, 0, -1);
  x = _mm_xor_si128(_mm_srli_si128(x, 8), _mm_clmulepi64_si128(x, KP_FOLD_16, 0x10));
  x = _mm_xor_si128(_mm_srli_si128(x, 4),
                    _mm_clmulepi64_si128(_mm_and_si128(x, low32), KP_FOLD_4, 0x00));
  __m128i quotient = _mm_clmulepi64_si128(_mm_and_si128(x, low32), KP_BARRETT, 0x10);
  x = _mm_xor_si128(x, _mm_clmulepi64_si128(_mm_and_si128(quotient, low32), KP_BARRETT, 0x00));
  return (uint32_t)_mm_extract_epi32(x, 1);
}

KP_CRC_TARGET static uint32_t kp_crc32_hardware(uint32_t seed, const uint8_t *p, size_t size) {
  if (size < 16) return kp_crc32_tables(seed, p, size); /* nothing to fold */
  const __m128i by16 = KP_FOLD_16;
  __m128i x = _mm_xor_si128(KP_LOAD(p), _mm_cvtsi32_si128((int)~seed));
  if (size >= 64) {
    const __m128i by64 = KP_FOLD_64;
    __m128i y = KP_LOAD(p + 16), z = KP_LOAD(p + 32), w = KP_LOAD(p + 48);
    for (p += 64, size -= 64; size >= 64; p += 64, size -= 64) {
      x = kp_crc_fold(x, by64, KP_LOAD(p));
      y = kp_crc_fold(y, by64, KP_LOAD(p + 16));
      z = kp_crc_fold(z, by64, KP_LOAD(p + 32));
      w = kp_crc_fold(w, by64, KP_LOAD(p + 48));
    }
    x = kp_crc_fold(kp_crc_fold(kp_crc_fold(x, by16, y), by16, z), by16, w);
  } else {
    p += 16, size -= 16;
  }
  for (; size >= 16; p += 16, size -= 16) x = kp_crc_fold(x, by16, KP_LOAD(p));
  if (size) {
    /* x and the last `size` bytes are 16 + size bytes. The first `size` of them, alone in a
     * register, are folded up by 16 onto the remaining 16. Reading 16 bytes that *end* with
     * the input is legal because at least 16 came before. */
    __m128i up = KP_LOAD(kp_crc_shift + size), down = KP_LOAD(kp_crc_shift + 16 + size);
    __m128i last = _mm_blendv_epi8(_mm_shuffle_epi8(x, down), KP_LOAD(p + size - 16), down);
    x = kp_crc_fold(_mm_shuffle_epi8(x, up), by16, last);
  }
  return ~kp_crc_reduce(x);
}

static int kp_crc_has_hardware(void) {
  __builtin_cpu_init();
  return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
}
#elif defined(__aarch64__) && defined(__GNUC__) && defined(__linux__) && \
    __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#include <arm_acle.h>
#include <sys/auxv.h>

#ifdef __clang__
#define KP_CRC_TARGET __attribute__((target("crc")))
#else
#define KP_CRC_TARGET __attribute__((target("+crc")))
#endif

KP_CRC_TARGET static uint32_t kp_crc32_hardware(uint32_t seed, const uint8_t *p, size_t size) {
  uint32_t crc = ~seed;
  for (; size >= 8; size -= 8, p += 8) {
    uint64_t word;
    memcpy(&word, p, 8);
    crc = __crc32d(crc, word);
  }
  for (; size; size--) crc = __crc32b(crc, *p++);
  return ~crc;
}

static int kp_crc_has_hardware(void) {
  return (getauxval(AT_HWCAP) & 1 << 7) != 0; /* HWCAP_CRC32 of the kernel's <asm/hwcap.h> */
}
#else
/* Never chosen; it keeps the choice below free of #if. */
static uint32_t kp_crc32_hardware(uint32_t seed, const uint8_t *p, size_t size) {
  return kp_crc32_tables(seed, p, size);
}

static int kp_crc_has_hardware(void) { return 0; }
#endif

static int kp_crc_use_hardware;

static void kp_crc32_init(void) {
  kp_crc_fill_tables();
  kp_crc_use_hardware = kp_crc_has_hardware();
}

static inline uint32_t kp_crc32(uint32_t seed, const uint8_t *p, size_t size) {
  return size >= 16 && kp_crc_use_hardware ? kp_crc32_hardware(seed, p, size)
                                         : kp_crc32_tables(seed, p, size);
}

#endif
