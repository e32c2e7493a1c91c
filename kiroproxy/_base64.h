/* Base64 of the standard alphabet: checked 16 characters at a time, decoded four at a time.
 *
 * Rules of this file: no allocation, no Python, no global but the table, which kp_base64_init fills
 * before any reader exists; nothing is read at or behind `text + size`.
 *
 * Why not binascii: it holds the interpreter, 13 ms for the largest image.
 *
 * Source: RFC 4648 section 4.
 */
#ifndef KIROPROXY_BASE64_H
#define KIROPROXY_BASE64_H

#include <stddef.h>
#include <stdint.h>

#if defined(__SSE2__) && defined(__GNUC__)
#include <emmintrin.h>
#endif

/* Whether every byte is of the standard alphabet; padding is not. */
static int kp_is_base64(const uint8_t *text, size_t size) {
  size_t at = 0;
#if defined(__SSE2__) && defined(__GNUC__)
  for (; size - at >= 16; at += 16) {
    __m128i v = _mm_loadu_si128((const __m128i *)(text + at));
    __m128i fold = _mm_or_si128(v, _mm_set1_epi8(0x20)); /* letters to small ones */
    __m128i is_letter = _mm_and_si128(_mm_cmpgt_epi8(fold, _mm_set1_epi8('a' - 1)),
                                      _mm_cmplt_epi8(fold, _mm_set1_epi8('z' + 1)));
    __m128i is_other = _mm_and_si128(_mm_cmpgt_epi8(v, _mm_set1_epi8('/' - 1)),
                                     _mm_cmplt_epi8(v, _mm_set1_epi8('9' + 1)));
    __m128i is_plus = _mm_cmpeq_epi8(v, _mm_set1_epi8('+'));
    __m128i good = _mm_or_si128(is_letter, _mm_or_si128(is_other, is_plus));
    if (_mm_movemask_epi8(good) != 0xFFFF) return 0;
  }
#endif
  for (; at < size; at++) {
    uint8_t c = text[at], fold = c | 0x20;
    if (!((fold >= 'a' && fold <= 'z') || (c >= '/' && c <= '9') || c == '+')) return 0;
  }
  return 1;
}

static uint8_t kp_sextet[256];

static void kp_base64_init(void) {
  static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (int at = 0; at < 64; at++) kp_sextet[(uint8_t)alphabet[at]] = (uint8_t)at;
}

/* Decode whole groups of four checked characters, `size` of them. */
static void kp_decode_base64(const uint8_t *text, size_t size, uint8_t *out) {
  for (const uint8_t *end = text + size; text < end; text += 4, out += 3) {
    uint32_t group = (uint32_t)kp_sextet[text[0]] << 18 | (uint32_t)kp_sextet[text[1]] << 12 |
                     (uint32_t)kp_sextet[text[2]] << 6 | kp_sextet[text[3]];
    out[0] = (uint8_t)(group >> 16);
    out[1] = (uint8_t)(group >> 8);
    out[2] = (uint8_t)group;
  }
}

#endif
