/* How classes of characters follow each other in a text: 64 characters a turn, one bit each.
 *
 * A turn makes one 64-bit mask per class; what is counted is a few bit operations on masks, and
 * what a run needs to know of the turn before is in `kp_runs`. The masks are made by SSE2 where
 * there is SSE2, else one character at a time; the counting is compiled twice, with the CPU's
 * population count and without, and the choice is made once, at import.
 *
 * Rules of this file: no allocation, no Python, no global but the choice, which kp_tally_init
 * writes before any reader exists. Everything is exact: how a text is cut into turns shows nowhere.
 *
 * Why not a library: nothing else counts this. One EPYC core, 1 MB of code: bytes.translate and
 * bytes.count 12 ms, one table walk 1.3 ms, this 0.3 ms.
 */
#ifndef KIROPROXY_TALLY_H
#define KIROPROXY_TALLY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { KP_TURN = 64, KP_LONG = 16, KP_WALL = 64 };

/* What is counted. A run is as many neighbours of one class as there are. */
struct kp_tally {
  int64_t words;     /* runs of letters, of either case */
  int64_t stretches; /* 16 small letters in a row, without overlap */
  int64_t humps;     /* a capital behind a small letter */
  int64_t capitals;  /* pairs of capitals, without overlap */
  int64_t digits;
  int64_t numbers;   /* runs of digits */
  int64_t signs;      /* ASCII that is none of the others */
  int64_t sign_pairs; /* of them, without overlap */
  int64_t lines;      /* line feeds */
  int64_t walls;      /* 64 blanks in a row, without overlap */
  int64_t gaps;       /* runs of two blanks or more within a line */
};

struct kp_runs { /* what the next turn must know of the last; all zero at the start */
  int64_t small, blank;              /* how long the open run is */
  int64_t capitals, odd_capitals;    /* of which pairs are made at the end */
  int64_t signs, odd_signs;
  /* 1: the last character was one; filled: no blank, no line feed; gap: a blank behind a filled */
  uint64_t after_letter, after_small, after_digit, after_filled, after_gap;
  int open_capitals, open_signs;     /* 0 no open run, 1 it began at an even place, 2 at an odd */
};

struct kp_masks {
  uint64_t small, capital, digit, line, blank, sign;
};

#if defined(__SSE2__) && defined(__GNUC__)
#include <emmintrin.h>
/* Bytes from 0x80 on are negative, so no range holds them. */
#define KP_BETWEEN(v, low, high)                                    \
  _mm_and_si128(_mm_cmpgt_epi8((v), _mm_set1_epi8((char)((low)-1))), \
                _mm_cmplt_epi8((v), _mm_set1_epi8((char)((high) + 1))))
#define KP_BITS(v) ((uint64_t)(uint32_t)_mm_movemask_epi8(v))

static inline __attribute__((always_inline)) void kp_classify(const uint8_t *p,
                                                              struct kp_masks *m) {
  uint64_t high = 0;
  memset(m, 0, sizeof *m);
  for (int at = 0; at < KP_TURN; at += 16) {
    __m128i v = _mm_loadu_si128((const __m128i *)(p + at));
    __m128i line = _mm_cmpeq_epi8(v, _mm_set1_epi8('\n'));
    __m128i blank = _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8(' ')), KP_BETWEEN(v, 9, 13));
    m->small |= KP_BITS(KP_BETWEEN(v, 'a', 'z')) << at;
    m->capital |= KP_BITS(KP_BETWEEN(v, 'A', 'Z')) << at;
    m->digit |= KP_BITS(KP_BETWEEN(v, '0', '9')) << at;
    m->line |= KP_BITS(line) << at;
    m->blank |= KP_BITS(_mm_andnot_si128(line, blank)) << at;
    high |= KP_BITS(v) << at;
  }
  m->sign = ~(high | m->small | m->capital | m->digit | m->line | m->blank);
}
#else
static inline void kp_classify(const uint8_t *p, struct kp_masks *m) {
  memset(m, 0, sizeof *m);
  for (int at = 0; at < KP_TURN; at++) {
    uint64_t bit = (uint64_t)1 << at;
    uint8_t c = p[at];
    if (c >= 'a' && c <= 'z') m->small |= bit;
    else if (c >= 'A' && c <= 'Z') m->capital |= bit;
    else if (c >= '0' && c <= '9') m->digit |= bit;
    else if (c == '\n') m->line |= bit;
    else if (c == ' ' || (c >= 9 && c <= 13)) m->blank |= bit;
    else if (c < 0x80) m->sign |= bit;
  }
}
#endif

#define KP_EVEN 0x5555555555555555u
#define KP_COUNT(mask) __builtin_popcountll(mask)

/* Count the runs of odd length that end in this turn; `open` is about one that did not end.
 * Adding a run's first bit to the mask moves it to the first place behind the run. A turn has an
 * even length, so a place is even or odd whatever turn it is in. */
static inline __attribute__((always_inline)) int64_t kp_odd_runs(uint64_t mask, int *open) {
  uint64_t starts = mask & ~(mask << 1), even, odd, behind_even, behind_odd;
  int64_t found = 0;
  if (*open && !(mask & 1)) { /* it ended with the last turn, at an even place */
    found = *open == 2;
    *open = 0;
  }
  if (*open == 2) starts &= ~(uint64_t)1;
  even = starts & KP_EVEN;
  odd = (starts & ~KP_EVEN) | (*open == 2);
  int even_goes_on = __builtin_add_overflow(mask, even, &behind_even);
  int odd_goes_on = __builtin_add_overflow(mask, odd, &behind_odd);
  *open = even_goes_on ? 1 : odd_goes_on ? 2 : 0;
  return found + KP_COUNT(behind_even & ~mask & ~KP_EVEN) + KP_COUNT(behind_odd & ~mask & KP_EVEN);
}

/* Count stretches of `KP_LONG` in one run. */
static inline int64_t kp_stretches(uint64_t mask, int64_t *run) {
  int64_t found;
  if (mask == ~(uint64_t)0) {
    *run += KP_TURN;
    return 0;
  }
  int head = __builtin_ctzll(~mask), tail = __builtin_clzll(~mask);
  found = (*run + head) / KP_LONG;
  *run = tail;
  if (head) mask = mask >> head << head;
  if (tail) mask = mask << tail >> tail;
  uint64_t long_ones = mask & mask >> 1; /* bit n: 2, 4, 8, 16 bits from n on are set */
  long_ones &= long_ones >> 2;
  long_ones &= long_ones >> 4;
  long_ones &= long_ones >> 8;
  while (long_ones) { /* seldom: no word is this long */
    int start = __builtin_ctzll(long_ones);
    int size = __builtin_ctzll(~(mask >> start)); /* ends: the last bit of mask is not set */
    found += size / KP_LONG;
    long_ones = long_ones >> (start + size) << (start + size);
  }
  return found;
}

static inline __attribute__((always_inline)) void kp_turn(const struct kp_masks *m,
                                                          struct kp_tally *t, struct kp_runs *r) {
  uint64_t letter = m->small | m->capital, filled = ~(m->blank | m->line);
  uint64_t gap = m->blank & (filled << 1 | r->after_filled);
  t->words += KP_COUNT(letter & ~(letter << 1 | r->after_letter));
  t->humps += KP_COUNT(m->capital & (m->small << 1 | r->after_small));
  t->digits += KP_COUNT(m->digit);
  t->numbers += KP_COUNT(m->digit & ~(m->digit << 1 | r->after_digit));
  t->lines += KP_COUNT(m->line);
  t->gaps += KP_COUNT(m->blank & (gap << 1 | r->after_gap));
  r->after_digit = m->digit >> 63;
  r->after_filled = filled >> 63;
  r->after_gap = gap >> 63;
  r->after_letter = letter >> 63;
  r->after_small = m->small >> 63;
  r->capitals += KP_COUNT(m->capital);
  r->odd_capitals += kp_odd_runs(m->capital, &r->open_capitals);
  r->signs += KP_COUNT(m->sign);
  r->odd_signs += kp_odd_runs(m->sign, &r->open_signs);
  t->stretches += kp_stretches(m->small, &r->small);
  if (m->blank == ~(uint64_t)0) {
    r->blank += KP_TURN;
  } else { /* only a run that crosses turns can be a wall */
    t->walls += (r->blank + __builtin_ctzll(~m->blank)) / KP_WALL;
    r->blank = __builtin_clzll(~m->blank);
  }
}

/* Count one text, added to what is in `t`. Bytes from 0x80 on belong to no class here. */
static inline __attribute__((always_inline)) void kp_tally_text(const uint8_t *p, size_t size,
                                                                struct kp_tally *t) {
  struct kp_runs runs = {0};
  struct kp_masks masks;
  uint8_t last[KP_TURN];
  for (; size >= KP_TURN; size -= KP_TURN, p += KP_TURN) {
    kp_classify(p, &masks);
    kp_turn(&masks, t, &runs);
  }
  memset(last, 0xFF, KP_TURN); /* at least one byte of it stays, and ends every run */
  memcpy(last, p, size);
  kp_classify(last, &masks);
  kp_turn(&masks, t, &runs);
  t->capitals += (runs.capitals - runs.odd_capitals) / 2;
  t->signs += runs.signs;
  t->sign_pairs += (runs.signs - runs.odd_signs) / 2;
}

static void kp_tally_portable(const uint8_t *p, size_t size, struct kp_tally *t) {
  kp_tally_text(p, size, t);
}

#if defined(__x86_64__) && defined(__GNUC__)
__attribute__((target("popcnt,bmi"))) static void kp_tally_hardware(const uint8_t *p, size_t size,
                                                                    struct kp_tally *t) {
  kp_tally_text(p, size, t);
}

static int kp_tally_has_hardware(void) {
  __builtin_cpu_init();
  return __builtin_cpu_supports("popcnt") && __builtin_cpu_supports("bmi");
}
#else
/* Never chosen; it keeps the choice below free of #if. */
static void kp_tally_hardware(const uint8_t *p, size_t size, struct kp_tally *t) {
  kp_tally_text(p, size, t);
}

static int kp_tally_has_hardware(void) { return 0; }
#endif

static int kp_tally_use_hardware;

static void kp_tally_init(void) { kp_tally_use_hardware = kp_tally_has_hardware(); }

static inline void kp_tally(const uint8_t *p, size_t size, struct kp_tally *t) {
  if (kp_tally_use_hardware) kp_tally_hardware(p, size, t);
  else kp_tally_portable(p, size, t);
}

#endif
