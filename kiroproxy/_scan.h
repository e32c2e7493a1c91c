/* Runs of plain bytes in JSON string literals: measured, and copied on the way.
 *
 * Plain is everything but a quote, a backslash and what is below a blank; bytes from 0x80 on are
 * plain too, but noted. Sixteen bytes a turn where there is SSE2, else eight.
 *
 * Rules of this file: no allocation, no Python; nothing is read at or behind `p + size`.
 */
#ifndef KIROPROXY_SCAN_H
#define KIROPROXY_SCAN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline int kp_is_plain(uint8_t c) { return c >= 0x20 && c != '"' && c != '\\'; }

#if defined(__SSE2__) && defined(__GNUC__)
#include <emmintrin.h>
enum { KP_STEP = 16 };

/* One bit per byte of a step: which are not plain, which are not ASCII. */
static inline uint32_t kp_step(const uint8_t *p, uint8_t *copy, uint32_t *high) {
  __m128i v = _mm_loadu_si128((const __m128i *)p);
  __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1F)), v);
  __m128i quote = _mm_cmpeq_epi8(v, _mm_set1_epi8('"'));
  __m128i escape = _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'));
  if (copy) _mm_storeu_si128((__m128i *)copy, v);
  *high = (uint32_t)_mm_movemask_epi8(v);
  return (uint32_t)_mm_movemask_epi8(_mm_or_si128(low, _mm_or_si128(quote, escape)));
}
#else
enum { KP_STEP = 8 };

static inline uint32_t kp_step(const uint8_t *p, uint8_t *copy, uint32_t *high) {
  uint32_t found = 0, above = 0;
  for (int at = 0; at < KP_STEP; at++) {
    if (copy) copy[at] = p[at];
    above |= (uint32_t)(p[at] >> 7) << at;
    found |= (uint32_t)!kp_is_plain(p[at]) << at;
  }
  *high = above;
  return found;
}
#endif

/* Return how many plain bytes stand at `p`, at most `size`; *high is set if one is not ASCII.
 * `copy`, if any, gets them and has room for `size` and a step more. */
static inline size_t kp_plain_run(const uint8_t *p, size_t size, uint8_t *copy, int *high) {
  size_t at = 0;
  uint32_t above, found;
  for (; size - at >= KP_STEP; at += KP_STEP) {
    found = kp_step(p + at, copy ? copy + at : NULL, &above);
    if (found) {
      *high |= (above & ((found & (0u - found)) - 1)) != 0; /* of those before the first */
      return at + (size_t)__builtin_ctz(found);
    }
    *high |= above != 0;
  }
  for (; at < size && kp_is_plain(p[at]); at++) {
    if (copy) copy[at] = p[at];
    *high |= p[at] >> 7;
  }
  return at;
}

/* -- literals with escapes -- */

static inline int kp_hex4(const uint8_t *p, uint32_t *value) {
  uint32_t found = 0;
  for (int at = 0; at < 4; at++) {
    uint8_t c = p[at], letter = c | 0x20;
    if (c >= '0' && c <= '9') found = found << 4 | (uint32_t)(c - '0');
    else if (letter >= 'a' && letter <= 'f') found = found << 4 | (uint32_t)(letter - 'a' + 10);
    else return 0;
  }
  *value = found;
  return 1;
}

static inline uint8_t *kp_put_utf8(uint8_t *out, uint32_t c) {
  if (c < 0x80) {
    *out++ = (uint8_t)c;
  } else if (c < 0x800) {
    *out++ = (uint8_t)(0xC0 | c >> 6);
    *out++ = (uint8_t)(0x80 | (c & 63));
  } else if (c < 0x10000) {
    *out++ = (uint8_t)(0xE0 | c >> 12);
    *out++ = (uint8_t)(0x80 | (c >> 6 & 63));
    *out++ = (uint8_t)(0x80 | (c & 63));
  } else {
    *out++ = (uint8_t)(0xF0 | c >> 18);
    *out++ = (uint8_t)(0x80 | (c >> 12 & 63));
    *out++ = (uint8_t)(0x80 | (c >> 6 & 63));
    *out++ = (uint8_t)(0x80 | (c & 63));
  }
  return out;
}

/* What stands behind a backslash, for the two-byte escapes; 0: none of them. */
static const uint8_t kp_simple_escape[256] = {
    ['n'] = '\n', ['t'] = '\t', ['r'] = '\r', ['b'] = 8, ['f'] = 12,
    ['"'] = '"',  ['\\'] = '\\', ['/'] = '/',
};

/* Decode the escape at `*p`; NULL where there is none, or NUL, or half a surrogate pair. */
static inline uint8_t *kp_unescape(const uint8_t **p, const uint8_t *end, uint8_t *out, int *high) {
  const uint8_t *at = *p;
  uint32_t c, low;
  if (end - at < 2) return NULL;
  if (at[1] != 'u') {
    *p = at + 2;
    *out = kp_simple_escape[at[1]];
    return *out ? out + 1 : NULL;
  }
  if (end - at < 6 || !kp_hex4(at + 2, &c) || c == 0) return NULL;
  *p = at + 6;
  if (c >= 0xD800 && c <= 0xDFFF) {
    if (c > 0xDBFF || end - at < 12 || at[6] != '\\' || at[7] != 'u' || !kp_hex4(at + 8, &low) ||
        low < 0xDC00 || low > 0xDFFF)
      return NULL;
    c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
    *p = at + 12;
  }
  *high |= c >= 0x80;
  return kp_put_utf8(out, c);
}

/* A literal that is being unescaped. `out` has room for all that is left of the input. */
struct kp_literal {
  const uint8_t *at; /* what comes next; in the end the closing quote */
  uint8_t *out;      /* where it goes */
  int high;          /* whether anything so far is not ASCII */
  int odd;           /* whether kp_escape would write an escape of it in another way */
};

/* Unescape up to the closing quote (1), or what is not a literal (-1), or at least `budget` bytes
 * (0: call again). Works on copies of the fields: as memory they would bind every step. */
static inline int kp_unescape_literal(struct kp_literal *it, const uint8_t *end, size_t budget) {
  const uint8_t *at = it->at;
  const uint8_t *limit = (size_t)(end - at) > budget ? at + budget : end;
  uint8_t *out = it->out;
  int high = it->high, odd = it->odd, state = -1;
  while (at < limit) {
    size_t run = kp_plain_run(at, (size_t)(limit - at), out, &high);
    at += run;
    out += run;
    if (at == limit) break;
    if (*at != '\\') { /* the closing quote, or a raw control character */
      if (*at == '"') state = 1;
      goto done;
    }
    if (end - at >= 2 && (*out = kp_simple_escape[at[1]])) {
      odd |= at[1] == '/';
      at += 2;
      out++;
    } else if (!(out = kp_unescape(&at, end, out, &high))) {
      goto done;
    } else {
      odd = 1;
    }
  }
  if (at < end) state = 0;
done:
  it->at = at;
  it->out = out;
  it->high = high;
  it->odd = odd;
  return state;
}

/* Whether bytes are UTF-8 (RFC 3629 section 4): no overlong form, no surrogate, nothing cut. */
static inline int kp_is_utf8(const uint8_t *p, size_t size) {
  const uint8_t *end = p + size;
  uint64_t word;
  while (p < end) {
    if (end - p >= 8 && (memcpy(&word, p, 8), !(word & 0x8080808080808080u))) {
      p += 8;
      continue;
    }
    uint8_t lead = *p++, low = 0x80, most = 0xBF;
    if (lead < 0x80) continue;
    if (lead < 0xC2 || lead > 0xF4) return 0;
    int more = 1 + (lead >= 0xE0) + (lead >= 0xF0);
    if (end - p < more) return 0;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) most = 0x9F;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) most = 0x8F;
    if (*p < low || *p > most) return 0;
    for (p++; --more; p++)
      if ((*p & 0xC0) != 0x80) return 0;
  }
  return 1;
}

/* -- writing -- */

/* Write text as the inside of a literal. `out` has room for six bytes a character and a step. */
static inline uint8_t *kp_escape(const uint8_t *text, size_t size, uint8_t *out) {
  static const char digits[] = "0123456789abcdef";
  static const uint8_t letter[256] = {
      ['\n'] = 'n', ['\t'] = 't', ['\r'] = 'r', [8] = 'b', [12] = 'f', ['"'] = '"', ['\\'] = '\\',
  };
  const uint8_t *end = text + size;
  int high = 0;
  for (;;) {
    size_t run = kp_plain_run(text, (size_t)(end - text), out, &high);
    text += run;
    out += run;
    if (text == end) return out;
    *out++ = '\\';
    if (letter[*text]) {
      *out++ = letter[*text];
    } else {
      memcpy(out, "u00", 3);
      out[3] = (uint8_t)digits[*text >> 4];
      out[4] = (uint8_t)digits[*text & 15];
      out += 5;
    }
    text++;
  }
}

#endif
