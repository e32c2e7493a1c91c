/*
 * A stand-in for Kiro that is fast enough to load a gateway: one thread, epoll, plain or TLS.
 *
 * Rules of this file: it judges nothing about the request (the simulator in kiroproxy/simulator
 * does that) and keeps to its schedule or says by how much it missed it (GET /stats).
 *
 * Theory of operation. POST /generateAssistantResponse is answered by a script: options on the
 * command line, overridden by `[[load mode=paced events=200 rate=50]]` anywhere in the body (it
 * survives any gateway as part of the prompt) or by the query. Frames are made once; for each
 * event only the marker (see wire.h) and the CRC behind it are written anew.
 *
 *   mode=paced      one event, one chunk, one write, `rate` times a second
 *   mode=coalesced  one write of `bytes` (16384) in one chunk every `every` (100) ms
 *   mode=answer     everything in one write
 *   mode=idle       one event, then silence for `seconds`, then the end
 *   mode=flood      as fast as the socket takes it
 *   events=N        text events in the answer            delay=MS   wait before the head
 *
 * Usage: kiro [--port N] [--tls CERT KEY] [mode=… events=… …]     prints {"port": N}
 */
#define _GNU_SOURCE
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum mode { PACED, COALESCED, ANSWER, IDLE, FLOOD };
static const char *const MODES[] = {"paced", "coalesced", "answer", "idle", "flood"};

struct script {
    enum mode mode;
    long events, bytes;
    double rate, every, seconds, delay;
};

struct conn {
    int fd, heap_at; /* heap_at: place in the schedule, -1 when nothing is due */
    SSL *ssl;
    bool shaking, answering, head_sent, waits_to_write, closing;
    char *in, *out;
    size_t in_n, in_cap, out_n, out_at, out_cap;
    struct script script;
    int64_t start_us, due_us;
    long sent;
    struct conn *next_dead;
};

static struct script defaults = {PACED, 100, 16384, 50, 100, 30, 0};
static struct histogram lateness;
static uint64_t answers, events_sent, aborted, accepted, open_now, answering_now, written;
static int poller;
static SSL_CTX *tls;
static struct conn *dead; /* freed after the batch of events that may still name them */

static void *must(void *memory) {
    if (!memory) { perror("kiro: memory"); exit(1); }
    return memory;
}

/* ---- frames ---------------------------------------------------------------------------- */

static uint32_t crc_table[256];

static uint32_t crc_of(uint32_t crc, const char *data, size_t n) {
    crc = ~crc;
    for (size_t i = 0; i < n; i++) crc = crc_table[(crc ^ (uint8_t)data[i]) & 255] ^ (crc >> 8);
    return ~crc;
}

static void put_u32(char *at, uint32_t value) {
    value = htonl(value);
    memcpy(at, &value, 4);
}

static size_t put_header(char *at, const char *name, const char *value) {
    size_t name_n = strlen(name), value_n = strlen(value);
    at[0] = (char)name_n;
    memcpy(at + 1, name, name_n);
    at[1 + name_n] = 7; /* a string */
    at[2 + name_n] = (char)(value_n >> 8);
    at[3 + name_n] = (char)value_n;
    memcpy(at + 4 + name_n, value, value_n);
    return 4 + name_n + value_n;
}

static size_t put_frame(char *at, const char *type, const char *payload) {
    size_t headers = put_header(at + 12, ":event-type", type);
    headers += put_header(at + 12 + headers, ":content-type", "application/json");
    headers += put_header(at + 12 + headers, ":message-type", "event");
    size_t n = strlen(payload), total = 16 + headers + n;
    memcpy(at + 12 + headers, payload, n);
    put_u32(at, (uint32_t)total);
    put_u32(at + 4, (uint32_t)headers);
    put_u32(at + 8, crc_of(0, at, 8));
    put_u32(at + total - 4, crc_of(0, at, total - 4));
    return total;
}

/* One chunk: head, frame, line end. `frame` is where the frame begins. */
struct piece {
    char bytes[512];
    size_t n, frame, frame_n, marker;
    uint32_t crc; /* of the frame up to the marker */
};

/* JSON literals: what a model streams, with escapes and UTF-8 of two to four bytes. */
static const char *const TOKENS[16] = {
    "Hello", " there", ", and", " then", ".\\n\\n", " \\\"quoted\\\"", " caf\xc3\xa9",
    " \xe4\xbd\xa0\xe5\xa5\xbd", " def", " f(x):", "\\n    return", " x * 2", "\\t# ", " ok",
    " \xf0\x9f\x99\x82", " \xe2\x86\x92",
};
static struct piece pieces[16], opening, tail;

static void make_piece(struct piece *p, const char *body, size_t n) {
    p->frame = (size_t)sprintf(p->bytes, "%zx\r\n", n);
    memcpy(p->bytes + p->frame, body, n);
    memcpy(p->bytes + p->frame + n, "\r\n", 2);
    p->n = p->frame + n + 2;
    p->frame_n = n;
}

static void make_frames(void) {
    char payload[256], frame[1024];
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++) c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
        crc_table[i] = c;
    }
    for (int i = 0; i < 16; i++) {
        struct piece *p = &pieces[i];
        sprintf(payload, "{\"content\":\"%s@000000000000\",\"modelId\":\"claude-sonnet-4.5\"}",
                TOKENS[i]);
        make_piece(p, frame, put_frame(frame, "assistantResponseEvent", payload));
        p->marker = (size_t)((char *)memchr(p->bytes, '@', p->n) - p->bytes) + 1;
        p->crc = crc_of(0, p->bytes + p->frame, p->marker - p->frame);
    }
    make_piece(&opening, frame, put_frame(frame, "messageMetadataEvent",
        "{\"conversationId\":\"9d1f3c52-8a54-4b7e-9c55-2f6f3f1f7a10\","
        "\"utteranceId\":\"5b0c8f0e-1c3a-4e57-8a44-0d6c1e1b2f33\"}"));
    size_t n = put_frame(frame, "metadataEvent", "{\"stopReason\":\"END_TURN\"}");
    n += put_frame(frame + n, "contextUsageEvent", "{\"contextUsagePercentage\":2.75}");
    n += put_frame(frame + n, "meteringEvent",
                   "{\"unit\":\"credit\",\"unitPlural\":\"credits\",\"usage\":0.0421}");
    make_piece(&tail, frame, n);
}

/* ---- the schedule: a heap by due time ---------------------------------------------------- */

static struct conn **heap;
static int heap_n, heap_cap;

static void heap_set(int at, struct conn *c) { heap[at] = c; c->heap_at = at; }

static void heap_down(int at) {
    struct conn *c = heap[at];
    for (int child; (child = 2 * at + 1) < heap_n; at = child) {
        if (child + 1 < heap_n && heap[child + 1]->due_us < heap[child]->due_us) child++;
        if (heap[child]->due_us >= c->due_us) break;
        heap_set(at, heap[child]);
    }
    heap_set(at, c);
}

static void heap_up(int at) {
    struct conn *c = heap[at];
    for (; at && heap[(at - 1) / 2]->due_us > c->due_us; at = (at - 1) / 2)
        heap_set(at, heap[(at - 1) / 2]);
    heap_set(at, c);
}

static void unschedule(struct conn *c) {
    int at = c->heap_at;
    if (at < 0) return;
    c->heap_at = -1;
    struct conn *last = heap[--heap_n];
    if (last == c) return;
    heap_set(at, last);
    heap_up(at);
    heap_down(last->heap_at);
}

static void schedule(struct conn *c, int64_t due_us) {
    unschedule(c);
    if (heap_n == heap_cap)
        heap = must(realloc(heap, sizeof *heap * (size_t)(heap_cap = heap_cap * 2 + 64)));
    c->due_us = due_us;
    heap_set(heap_n, c);
    heap_up(heap_n++);
}

/* ---- sockets ----------------------------------------------------------------------------- */

static void end_conn(struct conn *c) {
    if (c->closing) return;
    c->closing = true;
    if (c->answering) { aborted++; answering_now--; }
    unschedule(c);
    if (c->ssl) SSL_free(c->ssl);
    close(c->fd);
    open_now--;
    c->next_dead = dead;
    dead = c;
}

static void watch(struct conn *c, bool write) {
    if (write == c->waits_to_write) return;
    c->waits_to_write = write;
    struct epoll_event e = {.events = EPOLLIN | (write ? (uint32_t)EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
}

/* Bytes moved; 0 when it would block; -1 when the connection is over. */
static ssize_t tls_result(struct conn *c, int result) {
    if (result > 0) return result;
    int why = SSL_get_error(c->ssl, result);
    ERR_clear_error();
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static void flush(struct conn *c) {
    while (c->out_at < c->out_n) {
        size_t n = c->out_n - c->out_at;
        ssize_t done;
        if (c->ssl) done = tls_result(c, SSL_write(c->ssl, c->out + c->out_at, (int)n));
        else {
            done = send(c->fd, c->out + c->out_at, n, MSG_NOSIGNAL);
            if (done < 0) done = errno == EAGAIN || errno == EINTR ? 0 : -1;
        }
        if (done < 0) { end_conn(c); return; }
        if (!done) { watch(c, true); return; }
        c->out_at += (size_t)done;
        written += (uint64_t)done;
    }
    c->out_n = c->out_at = 0;
    if (c->out_cap > 65536) { free(c->out); c->out = NULL; c->out_cap = 0; }
    watch(c, false);
}

static char *room(struct conn *c, size_t n) {
    if (c->out_n + n > c->out_cap)
        c->out = must(realloc(c->out, c->out_cap = (c->out_n + n) * 2));
    return c->out + c->out_n;
}

static void put(struct conn *c, const char *data, size_t n) {
    memcpy(room(c, n), data, n);
    c->out_n += n;
}

/* Append one event, whole chunk or frame only, due at `due_us`. */
static void put_event(struct conn *c, int64_t due_us, bool chunk) {
    struct piece *p = &pieces[c->sent & 15];
    put_hex(p->bytes + p->marker, (uint32_t)due_us, 8);
    put_hex(p->bytes + p->marker + 8, (uint32_t)c->sent & 0xffff, 4);
    size_t crc_at = p->frame + p->frame_n - 4;
    put_u32(p->bytes + crc_at, crc_of(p->crc, p->bytes + p->marker, crc_at - p->marker));
    if (chunk) put(c, p->bytes, p->n);
    else put(c, p->bytes + p->frame, p->frame_n);
    c->sent++;
    events_sent++;
}

static const char HEAD[] =
    "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.amazon.eventstream\r\n"
    "Transfer-Encoding: chunked\r\nx-amzn-RequestId: 7f0c9a52-3f0e-4d07-9c3e-1f5f0d6f5b11\r\n\r\n";

static void put_end(struct conn *c) {
    put(c, tail.bytes, tail.n);
    put(c, "0\r\n\r\n", 5);
    c->answering = false;
    answering_now--;
    answers++;
}

/* ---- the answer's course ------------------------------------------------------------------ */

static void put_block(struct conn *c, int64_t due_us, size_t bytes) {
    size_t head_at = c->out_n;
    put(c, "00000000\r\n", 10);
    while (c->sent < c->script.events && c->out_n - head_at - 10 + 192 <= bytes)
        put_event(c, due_us, false);
    put_hex(c->out + head_at, (uint32_t)(c->out_n - head_at - 10), 8);
    put(c, "\r\n", 2);
}

/* Put what is due now and plan the next step; the caller flushes. */
static void step(struct conn *c, int64_t due_us) {
    struct script *s = &c->script;
    if (!c->head_sent) {
        c->head_sent = true;
        put(c, HEAD, sizeof HEAD - 1);
        put(c, opening.bytes, opening.n);
        c->start_us = due_us;
        if (s->mode != ANSWER && s->mode != FLOOD) { schedule(c, due_us); return; }
    }
    switch (s->mode) {
    case PACED:
        if (c->sent < s->events) put_event(c, due_us, true);
        if (c->sent >= s->events) { put_end(c); return; }
        schedule(c, c->start_us + (int64_t)((double)c->sent * 1e6 / s->rate));
        return;
    case COALESCED:
        put_block(c, due_us, (size_t)s->bytes);
        if (c->sent >= s->events) { put_end(c); return; }
        schedule(c, due_us + (int64_t)(s->every * 1e3));
        return;
    case ANSWER:
        while (c->sent < s->events) put_event(c, due_us, true);
        put_end(c);
        return;
    case IDLE:
        if (c->sent) { put_end(c); return; }
        put_event(c, due_us, true);
        schedule(c, due_us + (int64_t)(s->seconds * 1e6));
        return;
    case FLOOD: /* goes on whenever the socket has taken everything */
        if (c->sent < s->events) put_block(c, due_us, 16384);
        if (c->sent >= s->events) put_end(c);
    }
}

static void pump(struct conn *c) {
    flush(c);
    for (int turn = 0; turn < 8 && !c->closing && !c->out_n && c->answering && c->head_sent
                       && c->script.mode == FLOOD; turn++) {
        step(c, now_us());
        flush(c);
    }
    /* Others get their turn; this one comes back through EPOLLOUT. */
    if (!c->closing && c->answering && c->head_sent && c->script.mode == FLOOD) watch(c, true);
}

/* ---- requests ------------------------------------------------------------------------------ */

static void read_script(struct script *s, const char *at, const char *end) {
    char word[64];
    while (at < end) {
        size_t n = 0;
        while (at < end && !strchr(" &?+]\"\\", *at)) {
            if (n + 1 < sizeof word) word[n++] = *at;
            at++;
        }
        word[n] = 0;
        char *value = strchr(word, '=');
        if (value) {
            *value++ = 0;
            if (!strcmp(word, "events")) s->events = atol(value);
            if (!strcmp(word, "bytes")) s->bytes = atol(value);
            if (!strcmp(word, "rate")) s->rate = atof(value);
            if (!strcmp(word, "every")) s->every = atof(value);
            if (!strcmp(word, "seconds")) s->seconds = atof(value);
            if (!strcmp(word, "delay")) s->delay = atof(value);
            for (int i = 0; i <= FLOOD && !strcmp(word, "mode"); i++)
                if (!strcmp(value, MODES[i])) s->mode = (enum mode)i;
        }
        at++;
    }
    if (s->rate <= 0) s->rate = 50;
    if (s->bytes < 512) s->bytes = 512;
}

static void answer_text(struct conn *c, const char *status, const char *text) {
    char head[256];
    int n = snprintf(head, sizeof head,
        "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
        status, strlen(text));
    put(c, head, (size_t)n);
    put(c, text, strlen(text));
}

static void answer_stats(struct conn *c) {
    char text[1024], late[256];
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    histogram_json(late, sizeof late, &lateness);
    snprintf(text, sizeof text,
        "{\"lateness_us\": %s, \"cpu_s\": %.6f, \"answers\": %llu, \"events\": %llu, "
        "\"aborted\": %llu, \"accepted\": %llu, \"connections\": %llu, \"answering\": %llu, "
        "\"bytes\": %llu}\n",
        late,
        (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec)
            + (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6,
        (unsigned long long)answers, (unsigned long long)events_sent,
        (unsigned long long)aborted, (unsigned long long)accepted, (unsigned long long)open_now,
        (unsigned long long)answering_now, (unsigned long long)written);
    answer_text(c, "200 OK", text);
}

static void handle(struct conn *c, const char *head, size_t head_n, const char *body, size_t n) {
    const char *space = memchr(head, ' ', head_n);
    const char *path = space ? space + 1 : head;
    const char *end = memchr(path, ' ', head_n - (size_t)(path - head));
    if (!end) { end_conn(c); return; }
    if (!strncmp(head, "GET /stats", 10)) { answer_stats(c); return; }
    if (!strncmp(head, "POST /stats/reset", 17)) {
        memset(&lateness, 0, sizeof lateness);
        answer_text(c, "200 OK", "{}\n");
        return;
    }
    if (strncmp(head, "POST /generateAssistantResponse", 31)) {
        answer_text(c, "404 Not Found", "{\"message\": \"not here\"}\n");
        return;
    }
    c->script = defaults;
    const char *query = memchr(path, '?', (size_t)(end - path));
    if (query) read_script(&c->script, query, end);
    const char *mark = memmem(body, n, "[[load ", 7);
    if (mark) {
        const char *stop = memchr(mark, ']', n - (size_t)(mark - body));
        read_script(&c->script, mark + 7, stop ? stop : body + n);
    }
    c->answering = true;
    answering_now++;
    c->head_sent = false;
    c->sent = 0;
    int64_t now = now_us();
    if (c->script.delay > 0) schedule(c, now + (int64_t)(c->script.delay * 1e3));
    else step(c, now);
}

/* The length of the request at the start of `in`, 0 while it is incomplete; decodes chunks. */
static size_t whole_request(struct conn *c, size_t *head_n, size_t *body_n) {
    char *gap = memmem(c->in, c->in_n, "\r\n\r\n", 4);
    if (!gap) return 0;
    *head_n = (size_t)(gap - c->in) + 4;
    *gap = 0;
    const char *field = strcasestr(c->in, "\r\ncontent-length:");
    bool chunked = strcasestr(c->in, "\r\ntransfer-encoding: chunked") != NULL;
    size_t length = field ? strtoul(field + 17, NULL, 10) : 0;
    *gap = '\r';
    *body_n = length;
    if (!chunked) return c->in_n - *head_n < length ? 0 : *head_n + length;
    struct dechunk d = {0};
    size_t at = *head_n;
    *body_n = 0;
    while (at < c->in_n && d.state < CHUNKS_DONE) {
        size_t span;
        at += dechunk_step(&d, c->in + at, c->in_n - at, &span);
        *body_n += span; /* the marker is looked for in the raw body: it is short enough */
    }
    if (d.state < CHUNKS_DONE) return 0;
    *body_n = at - *head_n;
    return at;
}

static void take_requests(struct conn *c) {
    size_t head_n, body_n, used;
    while (!c->closing && !c->answering && c->in_n && (used = whole_request(c, &head_n, &body_n))) {
        handle(c, c->in, head_n, c->in + head_n, body_n);
        if (c->closing) return;
        memmove(c->in, c->in + used, c->in_n -= used);
        pump(c);
    }
    if (!c->in_n && c->in_cap > 16384) { free(c->in); c->in = NULL; c->in_cap = 0; }
}

static void on_readable(struct conn *c) {
    for (;;) {
        if (c->in_cap - c->in_n < 4096)
            c->in = must(realloc(c->in, (c->in_cap = c->in_cap * 2 + 8192) + 1));
        size_t space = c->in_cap - c->in_n;
        ssize_t n;
        if (c->ssl) {
            n = tls_result(c, SSL_read(c->ssl, c->in + c->in_n, (int)space));
            if (!n) break;
        } else {
            n = recv(c->fd, c->in + c->in_n, space, 0);
            if (n < 0 && (errno == EAGAIN || errno == EINTR)) break;
        }
        if (n <= 0) { end_conn(c); return; }
        c->in_n += (size_t)n;
        c->in[c->in_n] = 0; /* strcasestr needs an end */
        if (!c->ssl && (size_t)n < space) break;
    }
    take_requests(c);
}

static void on_event(struct conn *c, uint32_t events) {
    if (c->closing) return;
    if (c->shaking) {
        ssize_t done = tls_result(c, SSL_do_handshake(c->ssl));
        if (done < 0) { end_conn(c); return; }
        if (!done) return;
        c->shaking = false;
    }
    if (events & EPOLLOUT) pump(c);
    if (!c->closing && !c->answering) take_requests(c);
    if (!c->closing && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_readable(c);
}

static void accept_all(int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct conn *c = must(calloc(1, sizeof *c));
        c->fd = fd;
        c->heap_at = -1;
        if (tls) {
            c->ssl = must(SSL_new(tls));
            SSL_set_fd(c->ssl, fd);
            SSL_set_accept_state(c->ssl);
            c->shaking = true;
        }
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
        open_now++;
        accepted++;
    }
}

static void run_due(void) {
    int64_t now;
    while (heap_n && heap[0]->due_us <= (now = now_us())) {
        struct conn *c = heap[0];
        int64_t due = c->due_us;
        unschedule(c);
        record(&lateness, now - due);
        step(c, due);
        pump(c);
        if (!c->closing && !c->answering && c->in_n) take_requests(c);
    }
}

static void bury(void) {
    while (dead) {
        struct conn *c = dead;
        dead = c->next_dead;
        free(c->in);
        free(c->out);
        free(c);
    }
}

static void serve(int listener) {
    struct epoll_event ready[256];
    for (;;) {
        struct timespec wait = {0}, *until = NULL;
        if (heap_n) {
            int64_t us = heap[0]->due_us - now_us();
            if (us < 0) us = 0;
            wait = (struct timespec){us / 1000000, us % 1000000 * 1000};
            until = &wait;
        }
        int n = epoll_pwait2(poller, ready, 256, until, NULL);
        if (n < 0 && errno != EINTR) { perror("kiro: epoll_pwait2"); exit(1); }
        for (int i = 0; i < n; i++) {
            if (ready[i].data.ptr) on_event(ready[i].data.ptr, ready[i].events);
            else accept_all(listener);
        }
        run_due();
        bury();
    }
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof address;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, n) || listen(fd, 4096)) {
        perror("kiro: listen");
        exit(1);
    }
    getsockname(fd, (struct sockaddr *)&address, &n);
    printf("{\"port\": %d}\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void open_tls(const char *certificate, const char *key) {
    tls = must(SSL_CTX_new(TLS_server_method()));
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                              | SSL_MODE_RELEASE_BUFFERS);
    if (SSL_CTX_use_certificate_chain_file(tls, certificate) != 1
        || SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1) {
        ERR_print_errors_fp(stderr);
        exit(1);
    }
}

int main(int count, char **arguments) {
    int port = 0;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1000);
    make_frames();
    for (int i = 1; i < count; i++) {
        if (!strcmp(arguments[i], "--port") && i + 1 < count) port = atoi(arguments[++i]);
        else if (!strcmp(arguments[i], "--tls") && i + 2 < count) {
            open_tls(arguments[i + 1], arguments[i + 2]);
            i += 2;
        } else if (strchr(arguments[i], '='))
            read_script(&defaults, arguments[i], arguments[i] + strlen(arguments[i]));
        else {
            fprintf(stderr, "usage: kiro [--port N] [--tls CERT KEY] [mode=paced events=100 ...]\n");
            return 2;
        }
    }
    poller = epoll_create1(EPOLL_CLOEXEC);
    int listener = listen_on(port);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e);
    serve(listener);
}
