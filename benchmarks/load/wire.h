/*
 * What the stand-in and the load client agree on: a clock, a marker, chunked bodies, a histogram.
 *
 * Rules of this file: no I/O but the clock; everything is static and small enough to inline.
 *
 * Theory of operation. Each text event of the stand-in ends in a marker, `@` and twelve hex
 * digits: when the event was due (microseconds of the monotonic clock, modulo 2^32) and its number
 * in the stream (modulo 2^16). The digits pass through any gateway as plain text, so the client
 * counts events, finds lost ones and measures latency from the intended time whatever the format
 * around them is. Both programs run on one machine, so both read the same clock.
 */
#ifndef KIROPROXY_LOAD_WIRE_H
#define KIROPROXY_LOAD_WIRE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { MARKER_DIGITS = 12 };

static inline int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static inline void put_hex(char *at, uint32_t value, int digits) {
    for (int i = digits - 1; i >= 0; i--, value >>= 4) at[i] = "0123456789abcdef"[value & 15];
}

static inline int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* A chunked body taken apart in pieces of any size. */
struct dechunk {
    enum { CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_DATA, CHUNK_DATA_END, TRAILER_START, TRAILER,
           CHUNKS_DONE, CHUNKS_BAD } state;
    uint64_t left;
    int digits;
};

/*
 * Take one step and say how many bytes it used up; `span` is then what of them is body.
 * Order: call until the input is used up or the state is CHUNKS_DONE or CHUNKS_BAD.
 */
static inline size_t dechunk_step(struct dechunk *d, const char *data, size_t n, size_t *span) {
    *span = 0;
    if (d->state == CHUNK_DATA) {
        size_t take = n < d->left ? n : (size_t)d->left;
        *span = take;
        if (!(d->left -= take)) d->state = CHUNK_DATA_END;
        return take;
    }
    char c = *data;
    switch (d->state) {
    case CHUNK_SIZE:
        if (hex_digit(c) >= 0 && d->digits < 15) {
            d->left = d->left * 16 + (uint64_t)hex_digit(c);
            d->digits++;
            break;
        }
        if (!d->digits) { d->state = CHUNKS_BAD; break; }
        d->state = CHUNK_EXTENSION; /* fall through: the character may be the line's end */
        /* fallthrough */
    case CHUNK_EXTENSION:
        if (c != '\n') break;
        d->digits = 0;
        d->state = d->left ? CHUNK_DATA : TRAILER_START;
        break;
    case CHUNK_DATA_END:
        if (c == '\n') d->state = CHUNK_SIZE;
        else if (c != '\r') d->state = CHUNKS_BAD;
        break;
    case TRAILER_START:
        if (c == '\n') d->state = CHUNKS_DONE;
        else if (c != '\r') d->state = TRAILER;
        break;
    case TRAILER:
        if (c == '\n') d->state = TRAILER_START;
        break;
    default: break;
    }
    return 1;
}

/*
 * Counts in buckets that grow with the value: 64 for each doubling, so a percentile is at most
 * 1.6 % above the truth, from 1 microsecond to an hour, without keeping a single sample.
 */
enum { SUB_BITS = 6, SUBS = 1 << SUB_BITS, BUCKETS = (33 - SUB_BITS) * SUBS };

struct histogram {
    uint64_t count[BUCKETS], total;
    int64_t sum, max;
};

static inline int bucket_of(int64_t value) {
    if (value < 0) value = 0;
    if (value > UINT32_MAX) value = UINT32_MAX;
    if (value < SUBS) return (int)value;
    int shift = 63 - __builtin_clzll((uint64_t)value) - SUB_BITS;
    return (shift << SUB_BITS) + (int)(value >> shift);
}

/* The largest value that falls into a bucket. */
static inline int64_t bucket_top(int bucket) {
    if (bucket < SUBS) return bucket;
    int shift = (bucket >> SUB_BITS) - 1;
    return ((int64_t)(bucket - (shift << SUB_BITS) + 1) << shift) - 1;
}

static inline void record(struct histogram *h, int64_t value) {
    h->count[bucket_of(value)]++;
    h->total++;
    h->sum += value;
    if (value > h->max) h->max = value;
}

static inline int64_t percentile(const struct histogram *h, double percent) {
    if (!h->total) return 0;
    double exact = percent / 100 * (double)h->total;
    uint64_t wanted = (uint64_t)exact, seen = 0;
    if ((double)wanted < exact || !wanted) wanted++;
    for (int i = 0; i < BUCKETS; i++)
        if ((seen += h->count[i]) >= wanted) {
            int64_t top = bucket_top(i);
            return top < h->max ? top : h->max;
        }
    return h->max;
}

static inline int histogram_json(char *at, size_t room, const struct histogram *h) {
    return snprintf(at, room,
        "{\"count\": %llu, \"mean\": %.1f, \"p50\": %lld, \"p90\": %lld, \"p99\": %lld, "
        "\"p99.9\": %lld, \"max\": %lld}",
        (unsigned long long)h->total, h->total ? (double)h->sum / (double)h->total : 0.0,
        (long long)percentile(h, 50), (long long)percentile(h, 90), (long long)percentile(h, 99),
        (long long)percentile(h, 99.9), (long long)h->max);
}

#endif
