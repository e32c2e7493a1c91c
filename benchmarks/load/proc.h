/*
 * CPU time and memory of processes and their children, as /proc tells them.
 *
 * Rules of this file: reads only; a process that is gone counts as zero.
 * Units: seconds and KiB. utime and stime come in clock ticks, which are 10 ms on Linux: too coarse
 * for a window of two seconds. Their sum is therefore taken from the scheduler's own count, which
 * has nanoseconds and is what the kernel scales both to; where it is missing, the ticks serve.
 *
 * Source: proc(5).
 */
#ifndef KIROPROXY_LOAD_PROC_H
#define KIROPROXY_LOAD_PROC_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TREE_LIMIT = 256 };

struct tree {
    int pids[TREE_LIMIT], n;
};

struct usage {
    double user_s, system_s, cpu_s;
    long rss_kib, pss_kib, processes, threads;
};

struct proc_stat {
    int parent;
    unsigned long user_ticks, system_ticks;
    long threads;
};

/* Parse one stat line. The name may hold blanks and parentheses: fields start after the last. */
static inline int parse_stat(const char *line, struct proc_stat *s) {
    const char *at = strrchr(line, ')');
    return at && sscanf(at + 1, " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d "
                        "%*d %*d %ld", &s->parent, &s->user_ticks, &s->system_ticks,
                        &s->threads) == 4;
}

static inline int read_stat(int pid, struct proc_stat *s) {
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    size_t n = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[n] = 0;
    return parse_stat(line, s);
}

static inline int tree_has(const struct tree *t, int pid) {
    for (int i = 0; i < t->n; i++)
        if (t->pids[i] == pid) return 1;
    return 0;
}

static inline void tree_add(struct tree *t, int pid) {
    if (t->n < TREE_LIMIT && !tree_has(t, pid)) t->pids[t->n++] = pid;
}

/* Add the children of the processes in `t`, and theirs, until there are no more. */
static inline void tree_grow(struct tree *t) {
    for (int before = -1; before != t->n;) {
        before = t->n;
        DIR *all = opendir("/proc");
        for (struct dirent *e; all && (e = readdir(all));) {
            struct proc_stat s;
            int pid = atoi(e->d_name);
            if (pid > 0 && read_stat(pid, &s) && tree_has(t, s.parent)) tree_add(t, pid);
        }
        if (all) closedir(all);
    }
}

/* Nanoseconds on a CPU, all threads of a process; those that have ended are not in it. */
static inline double scheduled_s(int pid) {
    char path[320];
    unsigned long long each, sum = 0;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *threads = opendir(path);
    for (struct dirent *e; threads && (e = readdir(threads));) {
        snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", pid, e->d_name);
        FILE *file = e->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (!file) continue;
        if (fscanf(file, "%llu", &each) == 1) sum += each;
        fclose(file);
    }
    if (threads) closedir(threads);
    return (double)sum / 1e9;
}

static inline void tree_cpu(const struct tree *t, struct usage *u) {
    double tick = 1.0 / (double)sysconf(_SC_CLK_TCK);
    u->user_s = u->system_s = u->cpu_s = 0;
    u->processes = u->threads = 0;
    for (int i = 0; i < t->n; i++) {
        struct proc_stat s;
        if (!read_stat(t->pids[i], &s)) continue;
        u->user_s += (double)s.user_ticks * tick;
        u->system_s += (double)s.system_ticks * tick;
        double exact = scheduled_s(t->pids[i]);
        u->cpu_s += exact > 0 ? exact : (double)(s.user_ticks + s.system_ticks) * tick;
        u->processes++;
        u->threads += s.threads;
    }
}

/* Costs the kernel a walk over every mapping: not while latency is being measured. */
static inline void tree_memory(const struct tree *t, struct usage *u) {
    u->rss_kib = u->pss_kib = 0;
    for (int i = 0; i < t->n; i++) {
        char path[64], line[256];
        long kib;
        snprintf(path, sizeof path, "/proc/%d/smaps_rollup", t->pids[i]);
        FILE *file = fopen(path, "r");
        while (file && fgets(line, sizeof line, file)) {
            if (sscanf(line, "Rss: %ld", &kib) == 1) u->rss_kib += kib;
            if (sscanf(line, "Pss: %ld", &kib) == 1) u->pss_kib += kib;
        }
        if (file) fclose(file);
    }
}

#endif
