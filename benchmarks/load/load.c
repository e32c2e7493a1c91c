/*
 * A load client for gateways: many streams or requests, one thread, epoll, and one JSON at the end.
 *
 * Rules of this file: it never waits for the gateway before the next thing that is due (latency
 * counts from the intended time), and it says "harness_bound" when it was itself late or short of
 * CPU, because then its numbers are about itself.
 *
 * Theory of operation. Each connection sends one prepared request after the other. Closed loop
 * (default): the next goes out when the last answer is complete. Open loop (--rate): request k is
 * due at k/rate and takes a free connection, or waits for one; the wait counts. Answers are
 * dechunked and searched for the stand-in's markers (wire.h), which gives the number of events,
 * lost ones, latency from the time each was due, and gaps. Nothing else of the format is looked
 * at, so the same client measures translating gateways and pass-through ones. CPU of --pid trees
 * is read at the two ends of the measured window.
 *
 * Usage: load --port N [options]; `load --help` lists them. Also
 *   load usage PID...       CPU and memory of process trees, JSON
 *   load percentiles        whole numbers on stdin → the histogram's percentiles, JSON
 */
#define _GNU_SOURCE
#include "proc.h"
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { TAIL = 64, TICK_US = 10000 };

static struct {
    const char *host, *path, *key, *body_file, *ask, *api, *expect_end;
    int port, connections, each, slow, json_answer;
    double seconds, spread, rate, from, to, limit, pace, slow_rate, leave, leave_within;
    struct tree pids;
} o = {.host = "127.0.0.1", .api = "messages", .ask = "", .key = "", .connections = 1,
       .limit = 60, .to = -1, .leave_within = 1, .slow_rate = 1000};

struct conn {
    int fd, done, digits; /* digits of a marker seen so far, -1 outside one */
    enum { AWAY, CONNECTING, SENDING, HEAD, BODY, FREE } state;
    bool slow, keeps, chunked, watched_read;
    size_t sent, head_n, length, tail_n;
    struct dechunk chunks;
    char *head, tail[TAIL], marker[MARKER_DIGITS];
    int64_t intended_us, last_us, leave_us;
    uint32_t events;
    int status;
};

static char *request;
static size_t request_n;
static struct conn *conns;
static int *free_conns, free_n, opened_n, finished_n;
static int poller;
static int64_t start_us, window_us[2];
static bool in_window;
static uint64_t answers, bad_answers, lost_events, cut_answers, unexpected_end, refused, left_n,
    events, bytes_in, stalls, reconnects, window_events, window_answers, window_bytes, reads;
static int first_bad_status;
static char first_bad_text[160];
static struct histogram first_event, latency, gap, whole, start_late, turn;
static struct usage before, after;
static double own_before, own_after;

static _Noreturn void fail(const char *what) {
    perror(what);
    exit(2);
}

static double own_cpu(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec)
           + (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

/* ---- the request ------------------------------------------------------------------------- */

static char *read_whole(const char *path, size_t *n) {
    FILE *file = fopen(path, "rb");
    if (!file) fail(path);
    fseek(file, 0, SEEK_END);
    *n = (size_t)ftell(file);
    rewind(file);
    char *text = malloc(*n + 1);
    if (!text || fread(text, 1, *n, file) != *n) fail(path);
    text[*n] = 0;
    fclose(file);
    return text;
}

static char *built_in_body(size_t *n) {
    char *text;
    bool kiro = !strcmp(o.api, "kiro");
    const char *form = kiro
        ? "{\"conversationState\":{\"chatTriggerType\":\"MANUAL\",\"conversationId\":"
          "\"9d1f3c52-8a54-4b7e-9c55-2f6f3f1f7a10\",\"currentMessage\":{\"userInputMessage\":"
          "{\"content\":\"Go on. [[load %s]]\",\"modelId\":\"claude-sonnet-4.5\",\"origin\":"
          "\"AI_EDITOR\"}},\"history\":[]}}"
        : "{\"model\":\"claude-sonnet-4-5\",\"max_tokens\":64000,\"stream\":%s,\"messages\":"
          "[{\"role\":\"user\",\"content\":\"Go on. [[load %s]]\"}]}";
    const char *stream = o.json_answer ? "false" : "true";
    int size = kiro ? asprintf(&text, form, o.ask) : asprintf(&text, form, stream, o.ask);
    if (size < 0) fail("memory");
    *n = (size_t)size;
    return text;
}

static void make_request(void) {
    size_t body_n;
    char *body = o.body_file ? read_whole(o.body_file, &body_n) : built_in_body(&body_n), *head;
    const char *usual = !strcmp(o.api, "kiro") ? "/generateAssistantResponse" : "/v1/messages";
    int n = asprintf(&head,
        "POST %s HTTP/1.1\r\nHost: %s:%d\r\nx-api-key: %s\r\nanthropic-version: 2023-06-01\r\n"
        "Content-Type: application/json\r\nAccept: */*\r\nContent-Length: %zu\r\n\r\n",
        o.path ? o.path : usual, o.host, o.port, o.key, body_n);
    if (n < 0 || !(request = malloc((size_t)n + body_n))) fail("memory");
    memcpy(request, head, (size_t)n);
    memcpy(request + n, body, body_n);
    request_n = (size_t)n + body_n;
    free(head);
    free(body);
}

/* ---- connections -------------------------------------------------------------------------- */

static void watch(struct conn *c, uint32_t events_wanted, int operation) {
    struct epoll_event e = {.events = events_wanted, .data.ptr = c};
    epoll_ctl(poller, operation, c->fd, &e);
}

static void hang_up(struct conn *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
}

static void reset_answer(struct conn *c) {
    c->sent = c->head_n = c->length = c->tail_n = 0;
    c->chunks = (struct dechunk){0};
    c->digits = -1;
    c->events = 0;
    c->last_us = 0;
    c->status = 0;
}

static void send_request(struct conn *c);

static void dial(struct conn *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)o.port)};
    int on = 1, small = 4096;
    if (inet_pton(AF_INET, o.host, &address.sin_addr) != 1) fail("--host wants an IPv4 address");
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) fail("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (c->slow) setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    c->state = CONNECTING;
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
        fail("connect");
    watch(c, EPOLLOUT, EPOLL_CTL_ADD);
}

/* Begin the request that was due at `intended`. */
static void begin(struct conn *c, int64_t intended) {
    reset_answer(c);
    c->intended_us = intended;
    if (o.leave > 0)
        c->leave_us = drand48() < o.leave
            ? now_us() + (int64_t)(drand48() * o.leave_within * 1e6) : 0;
    if (c->fd < 0) { dial(c); return; }
    c->state = SENDING;
    send_request(c);
}

static void finish(struct conn *c) {
    finished_n++;
    c->state = AWAY;
    hang_up(c);
}

/* The answer is over, well or not: go on, wait for work, or stop. */
static void next(struct conn *c, bool reusable) {
    c->done++;
    if (!reusable) hang_up(c);
    int64_t now = now_us();
    bool over = (o.each && c->done >= o.each)
                || (o.seconds > 0 && now - start_us >= (int64_t)(o.seconds * 1e6));
    if (o.rate > 0) {
        c->state = FREE;
        free_conns[free_n++] = (int)(c - conns);
        return;
    }
    if (over) finish(c);
    else begin(c, now);
}

static void broken(struct conn *c, const char *why) {
    bad_answers++;
    if (!first_bad_text[0]) snprintf(first_bad_text, sizeof first_bad_text, "%s", why);
    next(c, false);
}

static void send_request(struct conn *c) {
    while (c->sent < request_n) {
        ssize_t n = send(c->fd, request + c->sent, request_n - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) { watch(c, EPOLLOUT, EPOLL_CTL_MOD); return; }
        if (n < 0) {
            if (c->done && !c->sent) { /* the kept connection had been closed meanwhile */
                reconnects++;
                hang_up(c);
                dial(c);
                return;
            }
            broken(c, "the connection broke while the request was being sent");
            return;
        }
        c->sent += (size_t)n;
    }
    c->state = HEAD;
    watch(c, c->slow ? 0 : EPOLLIN, EPOLL_CTL_MOD);
}

/* ---- the answer --------------------------------------------------------------------------- */

static uint32_t hex_value(const char *digits, int n) {
    uint32_t value = 0;
    for (int i = 0; i < n; i++) value = value * 16 + (uint32_t)hex_digit(digits[i]);
    return value;
}

static void count_event(struct conn *c, int64_t now) {
    int32_t late = (int32_t)((uint32_t)now - hex_value(c->marker, 8));
    uint32_t number = hex_value(c->marker + 8, 4);
    if (number != (c->events & 0xffff)) {
        lost_events += (number - c->events) & 0xffff;
        c->events += (number - c->events) & 0xffff;
    }
    if (!c->slow && in_window) {
        if (!c->events) record(&first_event, now - c->intended_us);
        else if (now != c->last_us) record(&gap, now - c->last_us);
        record(&latency, late < 0 ? 0 : late);
        if (c->events && o.pace > 0 && (double)(now - c->last_us) > 1e7 / o.pace) stalls++;
    }
    if (in_window) window_events++;
    c->last_us = now;
    c->events++;
    events++;
}

static void find_events(struct conn *c, const char *at, size_t n, int64_t now) {
    const char *end = at + n;
    while (at < end) {
        if (c->digits < 0) {
            if (!(at = memchr(at, '@', (size_t)(end - at)))) return;
            c->digits = 0;
            at++;
        } else if (hex_digit(*at) < 0) c->digits = -1; /* not ours; may itself be an `@` */
        else {
            c->marker[c->digits++] = *at++;
            if (c->digits == MARKER_DIGITS) {
                c->digits = -1;
                count_event(c, now);
            }
        }
    }
}

static void keep_tail(struct conn *c, const char *span, size_t n) {
    if (n >= TAIL) {
        memcpy(c->tail, span + n - TAIL, TAIL);
        c->tail_n = TAIL;
        return;
    }
    size_t keep = c->tail_n + n > TAIL ? TAIL - n : c->tail_n;
    memmove(c->tail, c->tail + c->tail_n - keep, keep);
    memcpy(c->tail + keep, span, n);
    c->tail_n = keep + n;
}

static void take_body(struct conn *c, const char *span, size_t n, int64_t now) {
    if (o.expect_end) keep_tail(c, span, n);
    if (c->status == 200) find_events(c, span, n, now);
    else if (!first_bad_text[0])
        snprintf(first_bad_text, sizeof first_bad_text, "%.*s", (int)n, span);
}

static void complete(struct conn *c, int64_t now) {
    if (c->status != 200) {
        refused++;
        bad_answers++;
        if (!first_bad_status) first_bad_status = c->status;
    } else {
        answers++;
        if (o.expect_end && !memmem(c->tail, c->tail_n, o.expect_end, strlen(o.expect_end)))
            unexpected_end++;
        if (in_window) {
            window_answers++;
            if (!c->slow) record(&whole, now - c->intended_us);
        }
    }
    next(c, c->keeps);
}

static bool take_head(struct conn *c) {
    char *head = c->head;
    if (sscanf(head, "HTTP/1.%*d %d", &c->status) != 1) return false;
    c->chunked = strcasestr(head, "\r\ntransfer-encoding: chunked") != NULL;
    const char *length = strcasestr(head, "\r\ncontent-length:");
    c->length = length ? strtoul(length + 17, NULL, 10) : 0;
    c->keeps = !strcasestr(head, "\r\nconnection: close") && (c->chunked || length);
    if (!c->chunked && !length) c->length = SIZE_MAX; /* until the connection closes */
    c->state = BODY;
    return true;
}

/* Take body bytes; false once the answer is over, and the connection may then be elsewhere. */
static bool feed_body(struct conn *c, const char *at, size_t n, int64_t now) {
    const char *end = at + n;
    while (c->chunked && at < end) {
        size_t span, used = dechunk_step(&c->chunks, at, (size_t)(end - at), &span);
        if (span) take_body(c, at, span, now);
        at += used;
        if (c->chunks.state == CHUNKS_BAD) { broken(c, "bad chunked coding"); return false; }
        if (c->chunks.state == CHUNKS_DONE) { complete(c, now); return false; }
    }
    if (c->chunked) return true;
    size_t take = (size_t)(end - at) < c->length ? (size_t)(end - at) : c->length;
    take_body(c, at, take, now);
    if (!(c->length -= take)) { complete(c, now); return false; }
    return true;
}

static bool feed(struct conn *c, const char *at, size_t n, int64_t now) {
    if (c->state == BODY) return feed_body(c, at, n, now);
    if (!c->head && !(c->head = malloc(8193))) fail("memory");
    size_t fit = 8192 - c->head_n < n ? 8192 - c->head_n : n, old = c->head_n;
    memcpy(c->head + old, at, fit);
    c->head[c->head_n += fit] = 0;
    char *gap_at = memmem(c->head, c->head_n, "\r\n\r\n", 4);
    if (!gap_at) {
        if (c->head_n == 8192) { broken(c, "the answer's head is too long"); return false; }
        return true;
    }
    size_t used = (size_t)(gap_at - c->head) + 4 - old;
    gap_at[2] = 0;
    bool good = take_head(c);
    free(c->head);
    c->head = NULL;
    if (!good) { broken(c, "not an HTTP answer"); return false; }
    if (!c->chunked && !c->length) { complete(c, now); return false; }
    return n == used || feed_body(c, at + used, n - used, now);
}

static void read_some(struct conn *c, size_t limit) {
    static char buffer[65536];
    while (limit && (c->state == HEAD || c->state == BODY)) {
        size_t want = limit < sizeof buffer ? limit : sizeof buffer;
        ssize_t n = recv(c->fd, buffer, want, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (n <= 0) {
            if (!n && c->state == BODY && !c->chunked && c->length > (size_t)1 << 40) {
                complete(c, now_us());
                return;
            }
            cut_answers++;
            broken(c, "the connection closed before the answer was over");
            return;
        }
        reads++;
        bytes_in += (uint64_t)n;
        if (in_window) window_bytes += (uint64_t)n;
        limit -= (size_t)n;
        if (!feed(c, buffer, (size_t)n, now_us()) || (size_t)n < want) return;
    }
}

static void on_event(struct conn *c, uint32_t happened) {
    if (c->fd < 0) return;
    if (c->state == CONNECTING) {
        int error = 0;
        socklen_t n = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n);
        if (error) { broken(c, strerror(error)); return; }
        c->state = SENDING;
    }
    if (c->state == SENDING && happened & (EPOLLOUT | EPOLLERR | EPOLLHUP)) send_request(c);
    else if (c->state == FREE) hang_up(c); /* closed while it was spare */
    else if (!c->slow || happened & (EPOLLERR | EPOLLHUP)) read_some(c, SIZE_MAX);
}

/* ---- the course of a run -------------------------------------------------------------------- */

static void open_window(void) {
    own_before = own_cpu();
    tree_cpu(&o.pids, &before);
    window_us[0] = now_us();
    in_window = true;
}

static void close_window(void) {
    tree_cpu(&o.pids, &after);
    own_after = own_cpu();
    window_us[1] = now_us();
    in_window = false;
    tree_memory(&o.pids, &after);
}

static void start_due(int64_t now) {
    while (o.rate <= 0 && opened_n < o.connections) {
        int64_t due = start_us + (int64_t)(o.spread * 1e6 * opened_n / o.connections);
        if (due > now) return;
        record(&start_late, now - due);
        begin(&conns[opened_n++], due);
    }
}

static uint64_t issued, waiting_most;

static void issue_due(int64_t now) {
    int64_t end = start_us + (int64_t)(o.seconds * 1e6);
    while (o.rate > 0) {
        int64_t due = start_us + (int64_t)((double)issued * 1e6 / o.rate);
        if (due > now || due >= end) return;
        if (!free_n) {
            uint64_t queued = (uint64_t)((double)(now - due) * o.rate / 1e6);
            if (queued > waiting_most) waiting_most = queued;
            return;
        }
        /* Lateness of our own: with a free connection nothing but us can be the reason. */
        if (!waiting_most) record(&start_late, now - due);
        issued++;
        begin(&conns[free_conns[--free_n]], due);
    }
}

static void tick(int64_t now) {
    size_t share = (size_t)(o.slow_rate * TICK_US / 1e6) + 1;
    for (int i = 0; i < o.connections && (o.slow || o.leave > 0); i++) {
        struct conn *c = &conns[i];
        if (c->slow) read_some(c, share);
        if (c->leave_us && now >= c->leave_us && (c->state == HEAD || c->state == BODY)) {
            left_n++;
            next(c, false);
        }
    }
}

static bool is_over(int64_t now) {
    if (now - start_us > (int64_t)(o.limit * 1e6)) return true;
    /* Those still queued are sent after the end: they are the ones that waited longest. */
    if (o.rate > 0) return (double)issued >= o.rate * o.seconds && free_n == o.connections;
    return finished_n == o.connections;
}

static int64_t next_wake(int64_t now, int64_t next_tick) {
    int64_t wake = next_tick;
    if (o.rate > 0 && free_n) {
        int64_t due = start_us + (int64_t)((double)issued * 1e6 / o.rate);
        if (due < wake) wake = due;
    } else if (o.rate <= 0 && opened_n < o.connections) {
        int64_t due = start_us + (int64_t)(o.spread * 1e6 * opened_n / o.connections);
        if (due < wake) wake = due;
    }
    return wake > now ? wake - now : 0;
}

static void run(void) {
    struct epoll_event ready[256];
    int64_t now = start_us = now_us(), next_tick = start_us + TICK_US;
    while (!is_over(now)) {
        int64_t us = next_wake(now, next_tick);
        struct timespec wait = {us / 1000000, us % 1000000 * 1000};
        int n = epoll_pwait2(poller, ready, 256, &wait, NULL);
        int64_t woken = now_us();
        if (n < 0 && errno != EINTR) fail("epoll_pwait2");
        if (!window_us[0] && woken - start_us >= (int64_t)(o.from * 1e6)) open_window();
        if (in_window && o.to > 0 && woken - start_us >= (int64_t)(o.to * 1e6)) close_window();
        start_due(woken);
        issue_due(woken);
        for (int i = 0; i < n; i++) on_event(ready[i].data.ptr, ready[i].events);
        now = now_us();
        if (now >= next_tick) { tick(now); next_tick = now + TICK_US; }
        if (in_window) record(&turn, now - woken);
    }
    if (in_window) close_window();
}

/* ---- the report ----------------------------------------------------------------------------- */

static void print_histogram(const char *name, const struct histogram *h) {
    char text[256];
    histogram_json(text, sizeof text, h);
    printf("  \"%s\": %s,\n", name, text);
}

static void print_text(const char *name, const char *text) {
    printf("  \"%s\": \"", name);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') putchar('\\');
        if ((unsigned char)*text >= 0x20) putchar(*text);
    }
    printf("\",\n");
}

static void report(void) {
    double seconds = (double)(window_us[1] - window_us[0]) / 1e6;
    double own = own_after - own_before, cpu_s = after.cpu_s - before.cpu_s;
    bool bound = own > 0.85 * seconds || percentile(&start_late, 99) > 10000
                 || percentile(&turn, 99.9) > 20000;
    printf("{\n  \"connections\": %d, \"rate\": %g, \"ask\": \"%s\",\n", o.connections, o.rate,
           o.ask);
    printf("  \"window_s\": %.6f, \"events\": %llu, \"answers\": %llu, \"bytes\": %llu,\n",
           seconds, (unsigned long long)window_events, (unsigned long long)window_answers,
           (unsigned long long)window_bytes);
    printf("  \"total\": {\"events\": %llu, \"answers\": %llu, \"bytes\": %llu, \"reads\": %llu, "
           "\"issued\": %llu, \"left\": %llu},\n", (unsigned long long)events,
           (unsigned long long)answers, (unsigned long long)bytes_in, (unsigned long long)reads,
           (unsigned long long)issued, (unsigned long long)left_n);
    printf("  \"bad_answers\": %llu, \"refused\": %llu, \"cut\": %llu, \"lost_events\": %llu, "
           "\"unexpected_end\": %llu, \"stalls\": %llu, \"reconnects\": %llu, \"unfinished\": %d, "
           "\"queued_most\": %llu,\n", (unsigned long long)bad_answers,
           (unsigned long long)refused, (unsigned long long)cut_answers,
           (unsigned long long)lost_events, (unsigned long long)unexpected_end,
           (unsigned long long)stalls, (unsigned long long)reconnects,
           o.rate > 0 ? o.connections - free_n : o.connections - finished_n,
           (unsigned long long)waiting_most);
    printf("  \"first_bad_status\": %d,\n", first_bad_status);
    print_text("first_bad_text", first_bad_text);
    print_histogram("first_event_us", &first_event);
    print_histogram("latency_us", &latency);
    print_histogram("gap_us", &gap);
    print_histogram("answer_us", &whole);
    printf("  \"gateway\": {\"cpu_s\": %.6f, \"user_s\": %.3f, \"system_s\": %.3f, "
           "\"cpu_us_per_event\": %.3f, \"cpu_us_per_answer\": %.2f, \"rss_kib\": %ld, "
           "\"pss_kib\": %ld, \"rss_before_kib\": %ld, \"pss_before_kib\": %ld, "
           "\"processes\": %ld, \"threads\": %ld},\n", cpu_s, after.user_s - before.user_s,
           after.system_s - before.system_s, window_events ? cpu_s * 1e6 / (double)window_events : 0,
           window_answers ? cpu_s * 1e6 / (double)window_answers : 0, after.rss_kib, after.pss_kib,
           before.rss_kib, before.pss_kib, after.processes, after.threads);
    print_histogram("own_start_late_us", &start_late);
    print_histogram("own_turn_us", &turn);
    printf("  \"own_cpu_s\": %.3f,\n  \"harness_bound\": %s\n}\n", own, bound ? "true" : "false");
    if (bound) fprintf(stderr, "load: harness-bound: the client was late or short of CPU\n");
}

static int percentiles(void) {
    long long value;
    char text[256];
    while (scanf("%lld", &value) == 1) record(&whole, value);
    histogram_json(text, sizeof text, &whole);
    printf("%s\n", text);
    return 0;
}

static int usage(int count, char **pids) {
    struct tree t = {0};
    struct usage u = {0};
    for (int i = 0; i < count; i++) tree_add(&t, atoi(pids[i]));
    tree_grow(&t);
    tree_cpu(&t, &u);
    tree_memory(&t, &u);
    printf("{\"cpu_s\": %.6f, \"user_s\": %.2f, \"system_s\": %.2f, \"rss_kib\": %ld, \"pss_kib\": %ld, "
           "\"processes\": %ld, \"threads\": %ld}\n", u.cpu_s, u.user_s, u.system_s, u.rss_kib, u.pss_kib,
           u.processes, u.threads);
    return u.processes ? 0 : 1;
}

static const char HELP[] =
    "load --port N [options]\n"
    "what is sent\n"
    "  --host A          IPv4 address (127.0.0.1)\n"
    "  --api NAME        messages (POST /v1/messages) or kiro (POST /generateAssistantResponse)\n"
    "  --path P          another path        --key K   sent as x-api-key\n"
    "  --ask SCRIPT      what the stand-in shall answer, e.g. 'mode=paced events=200 rate=50'\n"
    "  --body FILE       this body instead of the built-in one (put [[load SCRIPT]] into it)\n"
    "  --no-stream       \"stream\": false in the built-in messages body\n"
    "how\n"
    "  --connections N   streams or connections (1)\n"
    "  --each N          requests a connection makes   --seconds S  no new ones after this\n"
    "  --spread S        open the connections over this time\n"
    "  --rate R          open loop: R requests a second for --seconds over --connections\n"
    "  --limit S         give up after this (60)\n"
    "  --slow N          the first N connections read --slow-rate (1000) bytes a second\n"
    "  --leave F         this share of requests hangs up within --leave-within (1) seconds\n"
    "what is measured\n"
    "  --from S --to S   the window in which CPU, events and latency are taken (all)\n"
    "  --pid P           add this process and its children to the gateway's CPU and memory\n"
    "  --pace R          events a second expected per stream; a gap of 10 of them is a stall\n"
    "  --expect-end T    a complete answer holds T in its last 64 bytes\n";

static void read_options(int count, char **arguments) {
    static const struct option names[] = {
        {"port", 1, 0, 'p'}, {"host", 1, 0, 'h'}, {"api", 1, 0, 'a'}, {"path", 1, 0, 'P'},
        {"key", 1, 0, 'k'}, {"ask", 1, 0, 'q'}, {"body", 1, 0, 'b'}, {"no-stream", 0, 0, 'j'},
        {"connections", 1, 0, 'c'}, {"each", 1, 0, 'n'}, {"seconds", 1, 0, 's'},
        {"spread", 1, 0, 'S'}, {"rate", 1, 0, 'r'}, {"limit", 1, 0, 'l'}, {"slow", 1, 0, 'w'},
        {"slow-rate", 1, 0, 'W'}, {"leave", 1, 0, 'v'}, {"leave-within", 1, 0, 'V'},
        {"from", 1, 0, 'f'}, {"to", 1, 0, 't'}, {"pid", 1, 0, 'i'}, {"pace", 1, 0, 'e'},
        {"expect-end", 1, 0, 'x'}, {"help", 0, 0, '?'}, {0}};
    for (int c; (c = getopt_long(count, arguments, "", names, NULL)) != -1;) switch (c) {
        case 'p': o.port = atoi(optarg); break;
        case 'h': o.host = optarg; break;
        case 'a': o.api = optarg; break;
        case 'P': o.path = optarg; break;
        case 'k': o.key = optarg; break;
        case 'q': o.ask = optarg; break;
        case 'b': o.body_file = optarg; break;
        case 'j': o.json_answer = 1; break;
        case 'c': o.connections = atoi(optarg); break;
        case 'n': o.each = atoi(optarg); break;
        case 's': o.seconds = atof(optarg); break;
        case 'S': o.spread = atof(optarg); break;
        case 'r': o.rate = atof(optarg); break;
        case 'l': o.limit = atof(optarg); break;
        case 'w': o.slow = atoi(optarg); break;
        case 'W': o.slow_rate = atof(optarg); break;
        case 'v': o.leave = atof(optarg); break;
        case 'V': o.leave_within = atof(optarg); break;
        case 'f': o.from = atof(optarg); break;
        case 't': o.to = atof(optarg); break;
        case 'i': tree_add(&o.pids, atoi(optarg)); break;
        case 'e': o.pace = atof(optarg); break;
        case 'x': o.expect_end = optarg; break;
        default: fputs(HELP, stderr); exit(2);
    }
    if (!o.port || o.connections < 1) { fputs(HELP, stderr); exit(2); }
    if (!o.each && o.seconds <= 0) o.each = 1;
}

int main(int count, char **arguments) {
    if (count > 1 && !strcmp(arguments[1], "percentiles")) return percentiles();
    if (count > 2 && !strcmp(arguments[1], "usage")) return usage(count - 2, arguments + 2);
    read_options(count, arguments);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1000);
    make_request();
    conns = calloc((size_t)o.connections, sizeof *conns);
    free_conns = calloc((size_t)o.connections, sizeof *free_conns);
    if (!conns || !free_conns) fail("memory");
    for (int i = 0; i < o.connections; i++) {
        conns[i].fd = -1;
        conns[i].slow = i < o.slow;
        if (o.rate > 0) conns[i].state = FREE;
        free_conns[i] = o.connections - 1 - i;
    }
    if (o.rate > 0) free_n = o.connections;
    tree_grow(&o.pids);
    tree_memory(&o.pids, &before);
    poller = epoll_create1(EPOLL_CLOEXEC);
    run();
    report();
    return 0;
}
